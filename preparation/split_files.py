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
    """The files of a split that is being written: `NAME.parquet`, or several in the folder `NAME`. Must be closed."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._shards: list[Path] = []
        self._writer: Any = None
        self._lines: list[str] = []
        self._size = 0

    @property
    def key(self) -> str:
        """The split's path in a manifest: its file, or its folder."""
        return self._name if len(self._shards) > 1 else f"{self._name}.parquet"

    def add(self, line: str) -> None:
        """Appends a row."""
        if not self._writer:
            self._open()
        self._lines.append(line.rstrip("\n"))
        self._size += len(line.encode())
        if len(self._lines) == _GROUP_ROWS:
            self._flush()
        if self._size >= SHARD_BYTES:
            self.close()

    def close(self) -> None:
        """Writes the remaining rows, and the file's end."""
        if not self._writer:
            return
        if self._lines:
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

        self._writer.write_table(pa.table({"row": self._lines}, schema=_schema()), row_group_size=_GROUP_ROWS)
        self._lines = []


def _shard_name(number: int) -> str:
    return f"{number:05d}.parquet"


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema([("row", pa.string())])
