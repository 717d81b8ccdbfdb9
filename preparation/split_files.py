"""Files of splits: Parquet with one column `row`, each value a row's canonical JSON line.

One column of JSON holds every kind of row, tools and metadata of any form. Equal rows give equal bytes: row groups have
a fixed number of rows, and nothing of the machine or the time is written but the version of pyarrow.
"""

from pathlib import Path
from typing import Any

_GROUP_ROWS = 8192


class SplitFile:
    """A file that is being written. Close it."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self._schema = pa.schema([("row", pa.string())])
        self._writer: Any = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Append a row."""
        self._lines.append(line.rstrip("\n"))
        if len(self._lines) == _GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the file's end."""
        if self._lines:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.table({"row": self._lines}, schema=self._schema), row_group_size=_GROUP_ROWS)
        self._lines = []
