"""Reads the lines of a split's files: the Parquet column `row`, or JSON lines in older dataset versions."""

from collections.abc import Iterator
from pathlib import Path

from llmops_kit.core.errors import DataError

_BATCH = 1024


def read_lines(path: Path) -> Iterator[bytes]:
    """Yields each row as a JSON line, without the newline; for a folder, the rows of its files in order of name.

    Raises:
        DataError: the file can't be read.
    """
    try:
        if path.is_dir():
            for shard in sorted(path.iterdir()):
                yield from read_lines(shard)
            return
        if path.suffix == ".parquet":
            yield from _of_parquet(path)
            return
        with path.open("rb") as file:
            yield from (line.removesuffix(b"\n") for line in file)
    except OSError as e:
        fix = "correct the path in the recipe"
        raise DataError(f"can't be read: {e.strerror or e}", where=str(path), fix=fix) from e


def _of_parquet(path: Path) -> Iterator[bytes]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path, pre_buffer=False) as opened:
            for batch in opened.iter_batches(batch_size=_BATCH, columns=["row"], use_threads=False):
                yield from (line.encode() for line in batch.column("row").to_pylist())
    except (pyarrow.ArrowException, KeyError) as e:
        raise DataError(f"is no file of rows: {e}"[:200], where=str(path), fix="build the dataset again") from None
