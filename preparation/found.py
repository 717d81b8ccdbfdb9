"""What a rule found in a text, and the text without it."""

from collections.abc import Iterable
from typing import NamedTuple


class FoundText(NamedTuple):
    """A stretch of a text.

    Attributes:
        start: its first character.
        end: the one after its last.
        kind: what it is, such as EMAIL_ADDRESS.
    """

    start: int
    end: int
    kind: str


def redacted(text: str, found: Iterable[FoundText]) -> str:
    """Returns a text with `<KIND>` in place of what was found. What overlaps is replaced once, by its first kind."""
    pieces, at, end = [], 0, 0
    for each in sorted(found, key=lambda found: (found.start, -found.end)):
        if each.start >= end:
            pieces += [text[at : each.start], f"<{each.kind}>"]
        at = end = max(end, each.end)
    return "".join((*pieces, text[at:]))
