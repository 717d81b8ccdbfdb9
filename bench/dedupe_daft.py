"""A plain MinHash deduplication with Daft, for `bench.prepare`, without checks of rows or exact similarities.

python -m bench.dedupe_daft ROWS TARGET
"""

import os
import sys
from typing import Any

import daft
import numpy as np
from daft import DataType, col

_BANDS, _ROWS = 32, 4


@daft.func.batch(return_dtype=DataType.list(DataType.binary()))
def _bands(signatures: Any) -> list[list[bytes]]:
    table = np.array(signatures.to_pylist(), dtype=np.uint32).reshape(-1, _BANDS, _ROWS)
    return [[bytes([band]) + row[band].tobytes() for band in range(_BANDS)] for row in table]


def main(rows: str, target: str) -> None:
    """Reads JSON lines, and writes those that are not near duplicates of an earlier one."""
    read: Any = daft.read_json(rows)
    docs = read._add_monotonically_increasing_id("id").collect()
    text: Any = col("text").normalize(remove_punct=True, lowercase=True, nfd_unicode=True, white_space=True)
    signature = text.minhash(num_hashes=_BANDS * _ROWS, ngram_size=5)
    bands: Any = _bands(signature)
    signed = docs.select("id", bands.alias("band")).explode("band")
    groups = signed.groupby("band").agg(col("id").min().alias("first"), col("id").list_agg())
    differ: Any = col("id") != col("first")
    pairs = groups.explode("id").where(differ).select("first", "id").distinct().to_pydict()
    alike = daft.from_pydict({"id": _all_but_first(zip(pairs["first"], pairs["id"], strict=True))})
    docs.join(alike, on="id", how="anti").select("text").write_parquet(target, compression="zstd")


def _all_but_first(pairs: Any) -> list[int]:
    """Returns every row of a component except its lowest, by union-find."""
    above: dict[int, int] = {}
    for pair in pairs:
        ends = []
        for each in pair:
            while each in above:
                each = above[each]
            ends.append(each)
        if ends[0] != ends[1]:
            above[max(ends)] = min(ends)
    return list(above)


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # Daft's threads can crash Python as it ends
