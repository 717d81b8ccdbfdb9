"""Near duplicates: MinHash bands propose pairs, their real Jaccard similarity decides, a component keeps one row.

Broder 1997 (MinHash); Kiveris et al. 2014, "Connected Components in MapReduce and Beyond" (large-star, small-star).
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from preparation.shingles import hashes_of, jaccard

_SHINGLE = 5  # words
_HASHES = 128


def bands_for(threshold: float) -> int:
    """How many bands 128 hashes are cut into: pairs at the threshold are proposed with a probability of 0.98."""
    return next(bands for bands in (8, 16, 32, 64) if 1 - (1 - threshold ** (_HASHES // bands)) ** bands >= 0.98)


def write(words: Any, threshold: float, folder: Path, say: Callable[[str], None]) -> None:
    """Find the rows that repeat an earlier one, and write `number` and `kept`, the one that stands for them.

    Args:
        words: a Daft frame with `number` and `words`; it is read several times.
        threshold: Jaccard similarity of sets of 5-word shingles from which two rows are one.
        folder: where Parquet files go.
        say: told the steps.
    """
    import pyarrow as pa
    from pyarrow import parquet

    pairs = _candidates(words, bands_for(threshold)).collect()
    say(f"near duplicates: {pairs.count_rows()} candidate pairs")
    edges = _similar(pairs, words, threshold).collect()
    say(f"near duplicates: {edges.count_rows()} pairs from {threshold:g} up")
    found = _components(edges).select("number", "kept").to_arrow().sort_by("number")
    parquet.write_table(found.cast(pa.schema([("number", pa.int64()), ("kept", pa.int64())])), folder / "0.parquet")


def read(folder: Path) -> dict[int, int]:
    """What `write` found: number -> the row that is kept for it, always one before it."""
    from pyarrow import parquet

    table = parquet.read_table(folder / "0.parquet")
    return dict(zip(table["number"].to_pylist(), table["kept"].to_pylist(), strict=True))


def _candidates(words: Any, bands: int) -> Any:
    """Distinct pairs `a` < `b` of rows that share a band.

    A bucket's members are paired with its first and with the one before them, not all with all: a bucket of n gives 2n
    pairs, and what its first one doesn't resemble may resemble its neighbour.
    """
    import daft
    import numpy as np
    import pyarrow as pa
    from daft import DataType, col

    rows = _HASHES // bands

    @daft.func.batch(return_dtype=DataType.list(DataType.uint64()))
    def keys(signatures: Any) -> Any:
        powers = np.array([pow(0x9E3779B97F4A7C15, exponent, 1 << 64) for exponent in range(rows)], dtype=np.uint64)
        values = signatures.to_arrow().flatten().to_numpy()
        table = values.astype(np.uint64).reshape(-1, bands, rows) + np.uint64(1)
        hashed = (table * powers).sum(axis=2, dtype=np.uint64) * np.uint64(bands) + np.arange(bands, dtype=np.uint64)
        offsets = pa.array(np.arange(0, hashed.size + 1, bands, dtype=np.int64))
        return pa.LargeListArray.from_arrays(offsets, pa.array(hashed.reshape(-1)))

    @daft.func.batch(return_dtype=DataType.list(DataType.list(DataType.int64())))
    def pairs(buckets: Any) -> list[Any]:
        found = []
        for bucket in buckets.to_pylist():
            members = sorted(bucket)
            first = {(members[0], each) for each in members[1:]}
            found.append(sorted(first | set(pairwise(members))))
        return found

    signed = words.with_column("keys", keys(col("words").minhash(num_hashes=_HASHES, ngram_size=_SHINGLE)))
    buckets = signed.select("number", "keys").explode("keys").groupby("keys").agg(col("number").list_agg())
    members: Any = col("number").list_count()
    proposed: Any = pairs(col("number"))
    each = buckets.where(members > 1).select(proposed.alias("pair")).explode("pair")
    return each.select(col("pair").get(0).alias("a"), col("pair").get(1).alias("b")).distinct()


def _similar(pairs: Any, words: Any, threshold: float) -> Any:
    """The pairs whose real similarity reaches the threshold."""
    import daft
    from daft import DataType, col

    @daft.func.batch(return_dtype=DataType.bool())
    def close(first: Any, second: Any) -> list[bool]:
        both = zip(first.to_pylist(), second.to_pylist(), strict=True)
        return [jaccard(hashes_of(a, _SHINGLE), hashes_of(b, _SHINGLE)) >= threshold for a, b in both]

    first = words.select(col("number").alias("a"), col("words").alias("of_a"))
    second = words.select(col("number").alias("b"), col("words").alias("of_b"))
    texts = pairs.join(first, on="a").join(second, on="b")
    return texts.where(close(col("of_a"), col("of_b"))).select("a", "b")


def _components(edges: Any) -> Any:
    """Every row of a component but its first -> the first, as `number` and `kept`, by joins until nothing changes."""
    from daft import col

    while edges.count_rows() and not _is_stars(edges):
        edges = _small_star(_large_star(edges)).collect()
    return edges.select(col("b").alias("number"), col("a").alias("kept"))


def _is_stars(edges: Any) -> bool:
    """Whether each row has one edge, and none that is the first of one is in another."""
    from daft import col

    if edges.select("b").distinct().count_rows() != edges.count_rows():
        return False
    return not edges.join(edges.select(col("b").alias("a")).distinct(), on="a", how="semi").count_rows()


def _large_star(edges: Any) -> Any:
    """Connect each row's larger neighbours to the smallest of itself and its neighbours."""
    from daft import col
    from daft.functions import when

    both = edges.select(col("a").alias("u"), col("b").alias("v")).concat(
        edges.select(col("b").alias("u"), col("a").alias("v"))
    )
    least = both.groupby("u").agg(col("v").min().alias("m"))
    joined = both.join(least, on="u").where(col("v") > col("u"))
    smaller = when(joined["m"] < joined["u"], joined["m"]).otherwise(joined["u"])
    return joined.select(smaller.alias("a"), col("v").alias("b")).distinct()


def _small_star(edges: Any) -> Any:
    """Connect each row and its smaller neighbours to the smallest of them."""
    from daft import col

    least = edges.groupby("b").agg(col("a").min().alias("m"))
    joined = edges.join(least, on="b")
    others = joined.where(col("a") != col("m")).select(col("m").alias("a"), col("a").alias("b"))
    own = least.select(col("m").alias("a"), col("b"))
    return own.concat(others).distinct()
