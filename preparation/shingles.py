"""Runs of consecutive words: hashed by numpy, or compared as they are."""

import zlib
from typing import Any

_BASE = 0x9E3779B97F4A7C15  # odd, so that powers stay apart modulo 2^64


def hashes_of(words: str, size: int) -> Any:
    """Returns a 64-bit hash of each run of `size` words of a text, as a sorted array without repetitions.

    Args:
        words: separated by one space.
        size: of a run. A shorter text is one run.

    Returns:
        uint64 array.
    """
    import numpy as np

    each = np.array([zlib.crc32(word.encode()) for word in words.split(" ")], dtype=np.uint64) + np.uint64(1)
    size = min(size, len(each))
    powers = np.array([pow(_BASE, exponent, 1 << 64) for exponent in range(size)], dtype=np.uint64)
    runs = np.lib.stride_tricks.sliding_window_view(each, size)
    return np.unique((runs * powers).sum(axis=1, dtype=np.uint64))


def similarity(first: str, second: str, size: int) -> float:
    """Returns the Jaccard similarity of two texts' sets of runs of `size` words, which one space separates."""
    one, other = _runs(first, size), _runs(second, size)
    both = len(one & other)
    return both / (len(one) + len(other) - both)


def _runs(words: str, size: int) -> set[tuple[str, ...]]:
    each = words.split(" ")
    return set(zip(*(each[start:] for start in range(min(size, len(each)))), strict=False))
