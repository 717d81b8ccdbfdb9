"""Hashes of runs of consecutive words, by numpy."""

import zlib
from typing import Any

_BASE = 0x9E3779B97F4A7C15  # odd, so that powers stay apart modulo 2^64


def hashes_of(words: str, size: int) -> Any:
    """A 64-bit hash of each run of `size` words of a text, as a sorted array without repetitions.

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


def jaccard(first: Any, second: Any) -> float:
    """The share of two sets that both hold, each as `hashes_of` gives it."""
    import numpy as np

    both = len(np.intersect1d(first, second, assume_unique=True))
    return both / (len(first) + len(second) - both)
