"""Reads rows from a file: one function for all formats.

Files are untrusted. Readers hold one row or one document in memory, never unpack without bounds, and execute nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from llmops_kit.core.errors import DataError
from llmops_kit.data_pipeline.readers.formats import reader_of, unknown_format


class ReadRow(NamedTuple):
    """A row of a file, or the reason why it can't be read.

    Attributes:
        where: `file:line`, or `file:row` (from 1) in formats without lines.
        row: its keys and values, of JSON's types; None if it can't be used.
        fault: the reason. Later rows are still read.
        dropped: why a row that can be read is left out of the dataset; empty if it is kept.
    """

    where: str
    row: dict[str, Any] | None
    fault: DataError | None = None
    dropped: str = ""


@dataclass(frozen=True)
class DataFile:
    """A file to read.

    Attributes:
        path: the file's path.
        name: the file's name in locations of rows.
        encoding: encoding of its text; empty: UTF-8, or UTF-16 with a byte-order mark.
        languages: of sentence pairs, source and target; needed for .po and .mo.
        form: a format without its own extension; empty: by the path.
    """

    path: Path
    name: str
    encoding: str = ""
    languages: tuple[str, ...] = ()
    form: str = ""


def read(path: Path, *, name: str = "", encoding: str = "", languages: Sequence[str] = ()) -> Iterator[ReadRow]:
    """Reads a file's rows in order. Its format follows from the end of its path.

    Args:
        path: a file such as rows.jsonl.gz.
        name: its name in locations of rows; empty: its path.
        encoding: a Python codec; empty: UTF-8, or UTF-16 with a byte-order mark.
        languages: of sentence pairs, source and target; needed for .po and .mo.

    Raises:
        DataError: the file can't be read at all: format, encoding (by line), damage. A single bad row doesn't raise:
            see ReadRow.
    """
    yield from read_file(DataFile(path, name or str(path), encoding, tuple(languages)))


def read_file(file: DataFile) -> Iterator[ReadRow]:
    """Reads a file's rows as `read` does."""
    place = reader_of(file.path.name, file.form)
    if not place:
        raise unknown_format(file.path.name, file.name)
    module, _, function = place.partition(":")
    yield from getattr(import_module(f"llmops_kit.data_pipeline.readers.{module}"), function)(file)
