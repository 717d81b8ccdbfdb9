"""Reads the bytes of each token of a vocabulary from a model's tokenizer.json.

Tokenizers write bytes in two ways. Byte-level ones (GPT-2, Qwen, Llama 3) map each byte to a printable character;
SentencePiece's (Llama 2, Gemma) write text with `▁` for a space, and `<0x0A>` for a byte.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def token_bytes(tokenizer: dict[str, Any], *, specials: bool) -> list[bytes]:
    """Returns the bytes of every token, by its id; empty for unused ids.

    Args:
        tokenizer: tokenizer.json.
        specials: whether special tokens have the bytes of their names; otherwise none, as in a text.
    """
    added = {token["id"]: token for token in tokenizer.get("added_tokens", ())}
    ids = dict(_vocabulary(tokenizer["model"]["vocab"]))
    to_bytes = _of_byte_level() if _is_byte_level(tokenizer) else _of_piece
    found = [b""] * (max([*ids.values(), *added], default=-1) + 1)
    for token, id_ in ids.items():
        found[id_] = to_bytes(token)
    for id_, token in added.items():
        found[id_] = token["content"].encode() if specials or not token["special"] else b""
    return found


def _vocabulary(vocab: Any) -> Iterator[tuple[str, int]]:
    if isinstance(vocab, dict):
        yield from vocab.items()
    else:  # Unigram's, with scores
        yield from ((entry[0], id_) for id_, entry in enumerate(vocab))


def _is_byte_level(tokenizer: dict[str, Any]) -> bool:
    return '"ByteLevel"' in json.dumps([tokenizer.get("decoder"), tokenizer.get("pre_tokenizer")])


def _of_piece(token: str) -> bytes:
    if byte := _BYTE.fullmatch(token):
        return bytes([int(byte[1], 16)])
    return token.replace("▁", " ").encode()


def _of_byte_level() -> Callable[[str], bytes]:
    """Returns the decoder of GPT-2's characters for bytes: printable ones stand for themselves, the others are numbered
    from 256.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {256 + place: byte for place, byte in enumerate(others)}

    def to_bytes(token: str) -> bytes:
        try:
            return token.translate(table).encode("latin-1")
        except UnicodeEncodeError:
            return token.encode()

    return to_bytes
