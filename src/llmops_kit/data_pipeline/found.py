"""Findings of a rule in a text, and their redaction."""

from collections.abc import Iterable
from typing import NamedTuple


class FoundText(NamedTuple):
    """A range of a text.

    Attributes:
        start: index of its first character.
        end: index after its last.
        kind: its kind, such as EMAIL_ADDRESS.
    """

    start: int
    end: int
    kind: str


def redacted(text: str, found: Iterable[FoundText]) -> str:
    """Returns a text with `<KIND>` in place of each finding. Overlapping ones are replaced once, by the kind of the
    first.
    """
    pieces, at, end = [], 0, 0
    for each in sorted(found, key=lambda found: (found.start, -found.end)):
        if each.start >= end:
            pieces += [text[at : each.start], f"<{each.kind}>"]
        at = end = max(end, each.end)
    return "".join((*pieces, text[at:]))
