"""Comparison of text by whole words, ignoring letter case and spaces."""

import re
import unicodedata
from collections.abc import Sequence

# Scripts that write words without spaces between them, and Korean, which joins particles to them.
_JOINED_SCRIPTS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x109F),  # Tibetan, Myanmar
    (0x1100, 0x11FF),  # Hangul, in parts
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # iteration mark, closing mark and zero of Han
    (0x3040, 0x318F),  # kana, Bopomofo, Hangul compatibility
    (0x31A0, 0x31FF),  # Bopomofo and kana extensions
    (0x3400, 0x9FFF),  # Han
    (0xAC00, 0xD7FF),  # Hangul
    (0xF900, 0xFAFF),  # Han, for compatibility
    (0x20000, 0x3FFFF),  # Han, further planes
)


_JOINED = "".join(f"{chr(low)}-{chr(high)}" for low, high in _JOINED_SCRIPTS)
_WORD = re.compile(rf"[{_JOINED}]|[^\W{_JOINED}]+")
# Most trained texts are ASCII: for them, tables of bytes are several times as fast as the code below.
_ASCII = [chr(code) for code in range(128)]
_FOLDED = bytes(ord(" " if c.isspace() else c.lower()) for c in _ASCII).ljust(256)
_WORDS = bytes(ord(c if c.isalnum() or c == "_" else " ") for c in _ASCII).ljust(256)


def words_of(text: str) -> list[str]:
    """Return a text's words, folded; in scripts that write words without spaces, its characters."""
    folded = fold(text)
    return ascii_words(folded).split() if folded.isascii() else _WORD.findall(folded)


def ascii_words(text: str) -> str:
    """Returns the words of an ASCII text, as `\\w+` finds them, separated by spaces."""
    return _translated(text, _WORDS)


def fold(text: str) -> str:
    """Return text without differences of letter case, spaces and Unicode form."""
    if text.isascii():
        return _translated(text, _FOLDED)
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _translated(text: str, table: bytes) -> str:
    """Returns an ASCII text translated by a table of bytes, with single spaces, and none at its ends."""
    made = text.encode().translate(table)
    while b"  " in made:
        made = made.replace(b"  ", b" ")
    return made.strip(b" ").decode()


def found(answer: str, expect: Sequence[str]) -> bool:
    """Returns whether an answer has every expected string, ignoring letter case and spaces; of `a|b`, one is enough.

    A string that begins or ends with a letter or a digit must do so at a word's edge: `nine` is not in `nineteen`, nor
    `9` in `19`, but `9%` is in `(9%)`. Scripts that write words without spaces have no such edges.
    """
    text = fold(answer)
    return all(any(has_word(text, fold(choice)) for choice in one.split("|")) for one in expect)


def has_word(text: str, word: str) -> bool:
    """Returns whether a text has a string as whole words; both are folded."""
    start = text.find(word)
    while start >= 0:
        end = start + len(word)
        if not (joins(text[start - 1 : start], word[:1]) or joins(word[-1:], text[end : end + 1])):
            return True
        start = text.find(word, start + 1)
    return False


def joins(before: str, after: str) -> bool:
    """Returns whether two neighbouring characters belong to one word."""
    return _is_word(before) and _is_word(after)


def _is_word(character: str) -> bool:
    if not character or any(low <= ord(character) <= high for low, high in _JOINED_SCRIPTS):
        return False
    return character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M"
