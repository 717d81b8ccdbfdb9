"""Finds near duplicates: MinHash bands propose pairs, their exact Jaccard similarity decides, a component keeps one
row.

Broder 1997 (MinHash). Texts stay with Daft; the driver holds keys, 8 bytes for each of a row's bands, and pairs.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llmops_kit.data_pipeline.shingles import parts, similarities, unique

_SHINGLE = 5  # words
_HASHES = 128


def bands_for(threshold: float) -> int:
    """Returns the number of bands into which 128 hashes are split, so that pairs at the threshold are proposed with a
    probability of 0.98.
    """
    return next(bands for bands in (8, 16, 32, 64) if 1 - (1 - threshold ** (_HASHES // bands)) ** bands >= 0.98)


def keys_of(words: Any, bands: int) -> Any:
    """Returns each text's key in each band: a pyarrow array of lists of 64-bit numbers, null for a text without words.

    Args:
        words: a pyarrow array of texts as words separated by spaces.
        bands: as `bands_for` returns it.
    """
    import daft
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute

    pc: Any = pyarrow.compute  # pyright does not see its functions
    numbers = _HASHES // bands // 2  # two hashes of 32 bits are one number
    powers = np.array([pow(0x9E3779B97F4A7C15, 1 + power, 1 << 64) for power in range(numbers)], dtype=np.uint64)
    signatures = daft.Series.from_arrow(words).minhash(num_hashes=_HASHES, ngram_size=_SHINGLE)
    values = np.ascontiguousarray(signatures.to_arrow().flatten().to_numpy(), dtype=np.uint32)
    keys = values.view(np.uint64).reshape(-1, bands, numbers) @ powers
    offsets = pa.array(np.arange(0, keys.size + 1, bands, dtype=np.int64))
    return pa.LargeListArray.from_arrays(offsets, pa.array(keys.reshape(-1)), mask=pc.equal(words, ""))


def write(examined: Path, left_out: Sequence[int], threshold: float, folder: Path, say: Callable[[str], None]) -> None:
    """Finds the rows that repeat an earlier one, and writes `number` and `kept`, the row kept in its place.

    Args:
        examined: Parquet files with `number`, `words` and `keys`.
        left_out: numbers of rows to ignore.
        threshold: Jaccard similarity of sets of 5-word shingles from which two rows count as one.
        folder: receives a Parquet file.
        say: called with each step.
    """
    import pyarrow as pa
    from pyarrow import parquet

    numbers, keys = _read_keys(examined, left_out)
    pairs = candidates(numbers, keys)
    say(f"near duplicates: {len(pairs)} candidate pairs")
    edges = _similar(pairs, examined, threshold)
    say(f"near duplicates: {len(edges)} pairs from {threshold:g} up")
    numbers, kept = components(edges)
    parquet.write_table(pa.table({"number": numbers, "kept": kept}), folder / "0.parquet")


def read(folder: Path) -> dict[int, int]:
    """Returns the result of `write`: number -> the row kept in its place, always an earlier one."""
    from pyarrow import parquet

    table = parquet.read_table(folder / "0.parquet")
    return dict(zip(table["number"].to_pylist(), table["kept"].to_pylist(), strict=True))


def candidates(numbers: Any, keys: Any) -> Any:
    """Returns the distinct pairs of rows that share a band, the lower number first: an array of shape (pairs, 2).

    A bucket's members are paired with its first and with the one before them, not all with all: a bucket of n gives 2n
    pairs, and a member that doesn't resemble the first may resemble its neighbour.

    Args:
        numbers: of rows, ascending.
        keys: of each row in each band, of shape (rows, bands).
    """
    import numpy as np

    found = [np.empty(0, dtype=np.int64)]
    for of_band in keys.T:
        rows = _sharing(np.ascontiguousarray(of_band))
        rows = rows[np.argsort(of_band[rows], kind="stable")]  # a bucket's rows stand together, by number
        same = np.zeros(len(rows), dtype=bool)
        same[1:] = of_band[rows[1:]] == of_band[rows[:-1]]
        first = np.maximum.accumulate(np.where(same, 0, np.arange(len(rows))))
        at = np.flatnonzero(same)
        found += [before * len(keys) + rows[at] for before in (rows[first[at]], rows[at - 1])]
    pairs = unique(np.concatenate(found))  # a pair is one number: rows of two would take ten times as long
    return numbers[np.stack(np.divmod(pairs, max(1, len(keys))), axis=1)]


def _sharing(keys: Any) -> Any:
    """Returns the indices of keys that occur more than once, ascending. They are few, so that only they need a stable
    sort, which takes four times as long.
    """
    import numpy as np

    order = np.argsort(keys)
    same = keys[order[1:]] == keys[order[:-1]]
    shared = np.zeros(len(keys), dtype=bool)
    shared[order[1:][same]] = shared[order[:-1][same]] = True
    return np.flatnonzero(shared)


def _read_keys(examined: Path, left_out: Sequence[int]) -> tuple[Any, Any]:
    """Returns the numbers of the rows to compare, ascending, and their keys, one row each."""
    import numpy as np
    from pyarrow import dataset

    files = [str(path) for path in sorted(examined.iterdir())]  # file names are in the rows' order
    table = dataset.dataset(files, format="parquet").to_table(["number", "keys"]).drop_null()
    numbers, keys = table["number"].to_numpy(), table["keys"].combine_chunks().flatten().to_numpy()
    chosen = np.isin(numbers, np.array(left_out, dtype=np.int64), invert=True)
    return numbers[chosen], keys.reshape(len(numbers), -1)[chosen] if len(keys) else np.empty((0, 1), dtype=np.uint64)


def _similar(pairs: Any, examined: Path, threshold: float) -> Any:
    """Returns the pairs whose exact similarity reaches the threshold, in the same form."""
    import daft
    import numpy as np
    import pyarrow as pa
    from daft import DataType, col

    @daft.func.batch(return_dtype=DataType.bool())
    def close(first: Any, second: Any) -> Any:
        one, other = first.to_arrow(), second.to_arrow()
        found = [similarities(one[part], other[part], _SHINGLE) for part in parts(one, other)]
        return pa.array(np.concatenate(found) >= threshold)

    words = daft.read_parquet(f"{examined}/*.parquet").select("number", "words")
    words = words.join(daft.from_pydict({"number": unique(pairs.ravel())}), on="number", how="semi").collect()
    first = words.select(col("number").alias("a"), col("words").alias("of_a"))
    second = words.select(col("number").alias("b"), col("words").alias("of_b"))
    texts = daft.from_pydict({"a": pairs[:, 0], "b": pairs[:, 1]}).join(first, on="a").join(second, on="b")
    alike: Any = close(col("of_a"), col("of_b"))
    found = texts.where(alike).select("a", "b").to_arrow()
    return np.stack([found["a"].to_numpy(), found["b"].to_numpy()], axis=1)


def components(edges: Any) -> tuple[Any, Any]:
    """Returns every row of a component except its first, in order, and the first one, by spreading the lowest label to
    neighbours.
    """
    import numpy as np

    rows, ends = np.unique(edges, return_inverse=True)
    a, b = ends.reshape(-1, 2).T
    lowest = np.arange(len(rows))
    while True:
        found = lowest.copy()
        least = np.minimum(found[a], found[b])
        np.minimum.at(found, lowest[a], least)
        np.minimum.at(found, lowest[b], least)
        found = found[found]
        if (found == lowest).all():
            break
        lowest = found
    others = np.flatnonzero(lowest != np.arange(len(rows)))
    return rows[others], rows[lowest[others]]
