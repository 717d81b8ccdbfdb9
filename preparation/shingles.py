"""Runs of consecutive words, hashed by numpy."""

import zlib
from collections.abc import Sequence
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
    return unique((runs * powers).sum(axis=1, dtype=np.uint64))


def similarities(first: Any, second: Any, size: int) -> Any:
    """Returns the Jaccard similarity of the sets of runs of `size` words of each two texts at the same place.

    Args:
        first: pyarrow array of texts, whose words one space separates.
        second: as many.
        size: of a run. A shorter text is one run.

    Returns:
        float64 array. Runs count as equal if their hashes do, of 53 bits for 512 pairs.
    """
    import numpy as np

    pairs = len(first)
    runs, counts = _runs((first, second), size)
    text_of = np.repeat(np.arange(2 * pairs, dtype=np.uint64), counts)
    pair_of, is_second = text_of % np.uint64(max(1, pairs)), text_of >= pairs
    # One number for each: the pair's place, the run's hash and the text, so that equal runs of a pair are neighbours.
    bits = np.uint64(63 - pairs.bit_length())  # of the hash
    each = (pair_of << (bits + np.uint64(1))) | (runs >> (np.uint64(64) - bits) << np.uint64(1)) | is_second
    each = unique(each)
    both = each[1:][each[1:] >> np.uint64(1) == each[:-1] >> np.uint64(1)]
    total, common = (
        np.bincount((some >> (bits + np.uint64(1))).view(np.int64), minlength=pairs) for some in (each, both)
    )
    return common / (total - common)


def unique(values: Any) -> Any:
    """Returns the distinct ones of numpy integers, ascending. numpy's own function hashes, in ten times the time."""
    import numpy as np

    ordered = np.sort(values)
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def _runs(texts: Sequence[Any], size: int) -> tuple[Any, Any]:
    """Returns a 64-bit hash of each run of words, and how many runs each text has."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute

    pc: Any = pyarrow.compute  # whose functions pyright does not see
    words = pc.split_pattern(pa.chunked_array(texts), " ").combine_chunks()
    lengths = pc.list_value_length(words).to_numpy()
    numbers = words.flatten().dictionary_encode().indices.to_numpy().astype(np.uint64) + np.uint64(1)
    text_of = np.repeat(np.arange(len(lengths)), lengths)
    hashes = np.zeros(len(numbers), dtype=np.uint64)
    for at in range(min(size, len(numbers))):
        end = len(numbers) - at
        of_one_text = text_of[:end] == text_of[at:]
        hashes[:end] += numbers[at:] * np.uint64(pow(_BASE, at + 1, 1 << 64)) * of_one_text
    counts = np.maximum(1, lengths - size + 1)
    place = np.arange(len(numbers)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return hashes[place < np.repeat(counts, lengths)], counts
