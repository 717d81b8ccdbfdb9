"""Detokenising in pieces, and stop strings."""

import random

import pytest

from llmops_kit.serving.text import Detokenizer, StopStrings


def byte_decode(ids: list[int]) -> str:
    """A tokenizer with a token a byte, as byte-level BPE decodes."""
    return bytes(ids).decode(errors="replace")


TEXTS = ["plain", "Grüße, 世界", "a🙂b👩‍👩‍👧‍👦c🇫🇷", "\ufffd kept \ufffd", "नमस्ते", ""]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pieces_join_to_the_whole_and_none_is_broken(text: str, size: int) -> None:
    ids = list(text.encode())
    detokenizer = Detokenizer(byte_decode)
    pieces = [detokenizer.feed(ids[i : i + size]) for i in range(0, len(ids), size)]
    assert "".join(pieces) + detokenizer.flush() == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


def test_a_character_waits_for_its_last_byte() -> None:
    detokenizer = Detokenizer(byte_decode)
    assert [detokenizer.feed([b]) for b in "a🙂".encode()] == ["a", "", "", "", "🙂"]


def test_the_end_shows_what_never_became_a_character() -> None:
    detokenizer = Detokenizer(byte_decode)
    assert detokenizer.feed(list("🙂".encode()[:2])) == ""
    assert detokenizer.flush() == "\ufffd"
    assert detokenizer.flush() == ""


def test_garbage_is_shown_after_a_while() -> None:
    detokenizer = Detokenizer(byte_decode)
    assert any(detokenizer.feed([0x80]) for _ in range(40))


def test_words_keep_the_space_that_depends_on_context() -> None:
    words = ["Hello", "world", "again"]

    def decode(ids: list[int]) -> str:
        return " ".join(words[i] for i in ids)  # the first word never has a space, like SentencePiece

    detokenizer = Detokenizer(decode)
    assert [detokenizer.feed([i]) for i in (0, 1, 2)] == ["Hello", " world", " again"]


def test_a_stop_string_never_leaks_partly() -> None:
    stops = StopStrings(["END"])
    assert stops.feed("one E") == ("one ", False)
    assert stops.feed("N") == ("", False)
    assert stops.feed("D two") == ("", True)


def test_what_was_held_back_comes_when_it_was_no_stop() -> None:
    stops = StopStrings(["END", "\n\n"])
    assert stops.feed("one EN") == ("one ", False)
    assert stops.feed("OUGH\n") == ("ENOUGH", False)
    assert stops.flush() == "\n"


def test_the_stop_that_is_complete_first_counts_in_any_cutting() -> None:
    generator = random.Random(0)
    for _ in range(500):
        text = "".join(generator.choice("ab.") for _ in range(generator.randrange(1, 24)))
        stops = ["".join(generator.choice("ab.") for _ in range(generator.randrange(1, 5))) for _ in range(3)]
        results = set()
        for _ in range(4):
            filter_, shown, rest, met = StopStrings(stops), "", text, False
            while rest and not met:
                size = generator.randrange(1, len(rest) + 1)
                piece, met = filter_.feed(rest[:size])
                shown, rest = shown + piece, rest[size:]
            results.add(shown + ("" if met else filter_.flush()))
        assert len(results) == 1, (text, stops, results)
        assert not any(s in results.copy().pop() for s in stops)
