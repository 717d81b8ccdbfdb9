"""Hashes runs of consecutive words with numpy."""

import itertools
import zlib
from collections.abc import Iterator
from typing import Any

_BYTES_TOGETHER = 1 << 20
"""Bytes of texts whose runs are hashed at once; each takes some 20 bytes of memory."""
_BASE = 0x9E3779B97F4A7C15  # odd, so that powers stay apart modulo 2^64


def hashes_of(texts: Any, size: int) -> tuple[Any, Any]:
    """Returns a 64-bit hash of each run of `size` words, text by text, and the number of runs of each text. Equal runs
    have equal hashes in all calls.

    Args:
        texts: pyarrow array of texts as words separated by single spaces.
        size: of a run. A shorter text has none.
    """
    import numpy as np

    words, lengths = _words_and_lengths(texts)
    distinct = [zlib.crc32(word.encode()) + 1 for word in words.dictionary.to_pylist()]
    return _hashes_and_counts(np.array(distinct, dtype=np.uint64)[words.indices.to_numpy()], lengths, size, fewest=0)


def similarities(first: Any, second: Any, size: int) -> Any:
    """Returns the Jaccard similarity of the sets of runs of `size` words of each pair of texts with the same index.

    Args:
        first: pyarrow array of texts as words separated by single spaces.
        second: the same number of texts.
        size: of a run. A shorter text is one run.

    Returns:
        float64 array. Runs count as equal if their hashes are; a hash has 63 bits less those of the number of pairs.
    """
    import numpy as np
    import pyarrow as pa

    pairs = len(first)
    words, lengths = _words_and_lengths(pa.concat_arrays([first, second]))
    numbers = words.indices.to_numpy().astype(np.uint64) + np.uint64(1)
    runs, counts = _hashes_and_counts(numbers, lengths, size, fewest=1)
    text_of = np.repeat(np.arange(2 * pairs, dtype=np.uint64), counts)
    pair_of, is_second = text_of % np.uint64(max(1, pairs)), text_of >= pairs
    # One number per run: index of the pair, hash and text, so that equal runs of a pair are neighbours when sorted.
    bits = np.uint64(63 - pairs.bit_length())  # of the hash
    each = (pair_of << (bits + np.uint64(1))) | (runs >> (np.uint64(64) - bits) << np.uint64(1)) | is_second
    each = unique(each)
    both = each[1:][each[1:] >> np.uint64(1) == each[:-1] >> np.uint64(1)]
    total, common = (
        np.bincount((some >> (bits + np.uint64(1))).view(np.int64), minlength=pairs) for some in (each, both)
    )
    return common / (total - common)


def parts(*columns: Any) -> Iterator[slice]:
    """Yields slices of equally long pyarrow arrays of texts, each of some `_BYTES_TOGETHER` over all arrays."""
    import numpy as np
    import pyarrow.compute

    pc: Any = pyarrow.compute  # whose functions pyright does not see
    sizes = sum(pc.binary_length(texts).to_numpy().astype(np.int64) for texts in columns)
    part_of = np.cumsum(sizes) // _BYTES_TOGETHER
    ends = [*(np.flatnonzero(np.diff(part_of)) + 1).tolist(), len(columns[0])]
    return itertools.starmap(slice, itertools.pairwise([0, *ends]))


def unique(values: Any) -> Any:
    """Returns distinct numpy integers, ascending. numpy's own function hashes, and takes ten times as long."""
    import numpy as np

    ordered = np.sort(values)
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def _words_and_lengths(texts: Any) -> tuple[Any, Any]:
    """Returns all texts' words, one text after the other, as a pyarrow dictionary array; and each text's number of
    words.
    """
    import pyarrow.compute

    pc: Any = pyarrow.compute  # whose functions pyright does not see
    words = pc.split_pattern(texts, " ")
    return words.flatten().dictionary_encode(), pc.list_value_length(words).to_numpy()


def _hashes_and_counts(numbers: Any, lengths: Any, size: int, *, fewest: int) -> tuple[Any, Any]:
    """Returns a 64-bit hash of each run of words, text by text, and the number of runs of each text.

    Args:
        numbers: of all texts' words, from 1, one text after the other; equal words have equal numbers.
        lengths: words of each text.
        size: words of a run.
        fewest: runs of a text. With 1, a text of fewer words than `size` is one run.
    """
    import numpy as np

    text_of = np.repeat(np.arange(len(lengths)), lengths)
    hashes = np.zeros(len(numbers), dtype=np.uint64)
    for at in range(min(size, len(numbers))):
        end = len(numbers) - at
        of_one_text = text_of[:end] == text_of[at:]
        hashes[:end] += numbers[at:] * np.uint64(pow(_BASE, at + 1, 1 << 64)) * of_one_text
    counts = np.maximum(fewest, lengths - size + 1)
    place = np.arange(len(numbers)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return hashes[place < np.repeat(counts, lengths)], counts
