"""Arranges the sequences of a batch in rows of tokens."""

import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

ALL = sys.maxsize
_WIDTH_STEP = 16
"""Padded rows are as wide as a multiple of so many tokens: on processors, torch compiles kernels for each width that it
sees and keeps them, 20 MB for a small Llama.
"""

Texts = Sequence[npt.NDArray[np.int32]]
Places = npt.NDArray[np.int64]
_NONE: Places = np.zeros(0, np.int64)


class Layout(NamedTuple):
    """Rows of tokens."""

    ids: npt.NDArray[np.int64]
    """Token ids [rows, width]."""
    positions: npt.NDArray[np.int64]
    """Each token's position in its sequences [rows, width]."""
    places: list[Places]
    """Of each sequence, the places of its tokens in the flattened rows."""

    def members(self) -> npt.NDArray[np.int8]:
        """Returns which tokens of a single row belong to which sequence, [sequences, width] of 0 and 1, in the row's
        order. Without sequences, the row counts as one.
        """
        places = sorted(self.places, key=lambda places: places[-1]) or [np.arange(self.ids.size)]
        found = np.zeros((len(places), self.ids.size), np.int8)
        for member, own in zip(found, places, strict=True):
            member[own] = 1
        return found


def packed_layout(texts: Texts, pack_to: int, pad: int) -> Layout:
    """Returns rows of whole sequences; for `pack_to` see `rows_of`."""
    rows, width = rows_of([len(text) for text in texts], pack_to)
    ids = np.full((max(1, len(rows)), width), pad, np.int64)
    positions = np.zeros_like(ids)
    places: dict[int, Places] = {}
    for number, row in enumerate(rows):
        start = 0
        for i in row:
            end = start + len(texts[i])
            ids[number, start:end] = texts[i]
            positions[number, start:end] = np.arange(end - start)
            places[i] = np.arange(start, end) + number * width
            start = end
        positions[number, start:] = np.arange(width - start)
    return Layout(ids, positions, [places[i] for i in range(len(texts))])


def joined_layout(texts: Texts, pad: int) -> Layout:
    """Returns one row in which a prefix that sequences share, such as a system prompt, occurs once."""
    if not texts:
        return packed_layout(texts, ALL, pad)
    places: dict[int, Places] = {}
    ids, positions, width = [], [], 0
    for i, before, shared in _alike(texts):
        own = texts[i][shared:]
        places[i] = np.concatenate([places.get(before, _NONE)[:shared], np.arange(width, width + len(own))])
        ids.append(own)
        positions.append(np.arange(shared, len(texts[i])))
        width += len(own)
    row = np.concatenate(ids).astype(np.int64)[None]
    return Layout(row, np.concatenate(positions)[None], [places[i] for i in range(len(texts))])


def joined_width(texts: Texts) -> int:
    """Returns the tokens of a joined row."""
    return max(1, sum(len(texts[i]) - shared for i, _, shared in _alike(texts)))


def _alike(texts: Texts) -> Iterator[tuple[int, int, int]]:
    """Yields each sequence, in lexicographic order, with the one before it and the number of first tokens that both
    share; it shares no more with any earlier one. The last token is never shared, so that it has its own position.
    """
    order = sorted(range(len(texts)), key=lambda i: texts[i].tolist())
    yield from ((i, i, 0) for i in order[:1])
    for before, i in pairwise(order):
        size = min(len(texts[before]), len(texts[i]) - 1)
        differ = np.flatnonzero(texts[before][:size] != texts[i][:size])
        yield i, before, int(differ[0]) if len(differ) else size


def rows_of(lengths: Sequence[int], pack_to: int) -> tuple[list[list[int]], int]:
    """Returns which sequences share each row, and the rows' width in tokens.

    Args:
        lengths: of the sequences, in tokens.
        pack_to: tokens of a row that several may share, by first fit, longest first; 0: each has its own row.
    """
    if not pack_to:
        return [[i] for i in range(len(lengths))], padded_width(max(lengths, default=1))
    rows: list[list[int]] = []
    used: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = next((n for n, taken in enumerate(used) if taken + lengths[i] <= pack_to), len(rows))
        if place == len(rows):
            rows.append([])
            used.append(0)
        rows[place].append(i)
        used[place] += lengths[i]
    return rows, max(used, default=1)


def padded_width(longest: int) -> int:
    """Returns the width of padded rows whose longest has so many tokens."""
    return -(-longest // _WIDTH_STEP) * _WIDTH_STEP
