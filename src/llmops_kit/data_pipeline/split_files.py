"""Files of splits: Parquet with one column `row`, each value a row's canonical JSON line.

One column of JSON holds every kind of row, tools and metadata of any form. Equal rows give equal bytes: the boundaries
of row groups and shards depend on the rows alone, and nothing about the machine or the time is written except the
version of pyarrow.
"""

from pathlib import Path
from typing import Any

SHARD_BYTES = 256 << 20
"""Size of a shard's JSON, before compression; its last row may exceed it."""
_GROUP_ROWS = 8192


class SplitFiles:
    """Writes the files of a split: `NAME.parquet`, or several in the folder `NAME`. Must be closed."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._shards: list[Path] = []
        self._writer: Any = None
        self._waiting: list[Any] = []  # of the next row group
        self._size = 0  # of the shard

    @property
    def key(self) -> str:
        """The split's path in a manifest: its file, or its folder."""
        return self._name if len(self._shards) > 1 else f"{self._name}.parquet"

    def add(self, lines: Any) -> None:
        """Appends rows: a pyarrow array of their lines, which end with line ends."""
        import pyarrow.compute

        pc: Any = pyarrow.compute  # whose functions pyright does not see
        while len(lines):
            if not self._writer:
                self._open()
            taken = lines.slice(0, _GROUP_ROWS - sum(map(len, self._waiting)))
            sizes = pc.cumulative_sum(pc.binary_length(taken).cast("int64"), self._size)
            taken = taken.slice(0, pc.sum(pc.less(sizes, SHARD_BYTES)).as_py() + 1)
            lines = lines.slice(len(taken))
            self._waiting.append(taken.cast("string"))  # at most about a shard's size, which its offsets hold
            self._size = sizes[len(taken) - 1].as_py()
            if self._size >= SHARD_BYTES:
                self.close()
            elif sum(map(len, self._waiting)) == _GROUP_ROWS:
                self._flush()

    def close(self) -> None:
        """Writes the remaining rows, and the file's end."""
        if not self._writer:
            return
        if self._waiting:
            self._flush()
        self._writer.close()
        self._writer, self._size = None, 0

    def _open(self) -> None:
        from pyarrow import parquet

        shards = self._folder / self._name
        if len(self._shards) == 1:
            shards.mkdir()
            self._shards[0] = self._shards[0].rename(shards / _shard_name(0))
        number = len(self._shards)
        self._shards.append(shards / _shard_name(number) if number else shards.with_suffix(".parquet"))
        self._writer = parquet.ParquetWriter(self._shards[-1], _schema(), compression="zstd")

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.compute

        pc: Any = pyarrow.compute  # whose functions pyright does not see
        rows = pc.utf8_rtrim(pa.concat_arrays(self._waiting), characters="\n")
        self._writer.write_table(pa.table({"row": rows}, schema=_schema()), row_group_size=_GROUP_ROWS)
        self._waiting = []


def _shard_name(number: int) -> str:
    return f"{number:05d}.parquet"


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema([("row", pa.string())])
