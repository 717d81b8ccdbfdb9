"""What tokens stand for, in both ways in which tokenizers write bytes."""

from llmops_kit.serving.vocabulary import token_bytes

SPECIAL = {"id": 3, "content": "<|end|>", "special": True}
MARKUP = {"id": 4, "content": "<tool_call>", "special": False}


def test_byte_level_tokens_are_bytes() -> None:
    vocab = {"Ġa": 0, "Ċ": 1, "Ã©": 2}
    tokenizer = {"model": {"vocab": vocab}, "decoder": {"type": "ByteLevel"}, "added_tokens": [SPECIAL, MARKUP]}
    assert token_bytes(tokenizer, specials=True) == [b" a", b"\n", "é".encode(), b"<|end|>", b"<tool_call>"]
    assert token_bytes(tokenizer, specials=False)[3:] == [b"", b"<tool_call>"], "no text can hold a special token"


def test_pieces_are_text_with_marked_spaces_and_bytes() -> None:
    tokenizer = {"model": {"vocab": [["▁a", -1.0], ["<0x0A>", -2.0], ["é", -3.0]]}, "decoder": {"type": "Metaspace"},
                 "added_tokens": [SPECIAL | {"id": 5}]}  # fmt: skip
    assert token_bytes(tokenizer, specials=True) == [b" a", b"\n", "é".encode(), b"", b"", b"<|end|>"]
