"""Reads collected files: every row with its location, before any rule is applied."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from llmops_kit.core.documents.collected import RECEIPTS, CollectedFile, read_receipts, source_folder
from llmops_kit.core.documents.dataset import SourceEntry
from llmops_kit.core.documents.recipe_data import Data
from llmops_kit.core.errors import DataError, IntegrityError, KitError
from llmops_kit.core.hashes import sha256_bytes, sha256_file
from llmops_kit.data_pipeline.readers.formats import LINES, reader_of
from llmops_kit.data_pipeline.readers.reader import DataFile, read_file
from llmops_kit.data_pipeline.readers.texts import read_lines

_SHOWN_FAULTS = 5
_CHARACTERS_TOGETHER = 16 << 20


class ReadRows(NamedTuple):
    """Consecutive rows as their files have them, in columns.

    Attributes:
        first: the first one's index among all rows of the recipe, from 0.
        sources: each row's source's index in the recipe.
        places: each row's file and line, for errors.
        lines: each row's JSON, which may still be invalid.
        faults: why a row can't be read; None if it can.
        dropped: why a reader leaves a row out (`ReadRow.dropped`); empty if it does not.
    """

    first: int
    sources: list[int]
    places: list[str]
    lines: list[str]
    faults: list[DataError | None]
    dropped: list[str]


def files_of(data: Data, collected: Path) -> list[list[CollectedFile]]:
    """Returns the collected files of each source, in the recipe's order."""
    receipts = read_receipts(collected / RECEIPTS)
    return [[file for file in receipts if file.path.startswith(f"{source_folder(s)}/")] for s in data.sources]


def read_sources(
    data: Data, collected: Path, shown: Callable[[CollectedFile], str], together: int
) -> Iterator[ReadRows]:
    """Reads all rows, in the order of sources, files and lines.

    Args:
        collected: the folder filled by `llmops data collect`.
        shown: returns the name of a collected file in locations of rows.
        together: rows that are yielded at once; fewer at the end, and when they reach 16 Mi characters.

    Raises:
        DataError: a file that can't be read at all; after the rows before it.
        IntegrityError: a file was changed since it was collected; likewise.
    """
    some, size, failed = _no_rows(0), 0, None
    try:
        for index, place, line, fault, dropped in _rows(data, collected, shown):
            some.sources.append(index)
            some.places.append(place)
            some.lines.append(line)
            some.faults.append(fault)
            some.dropped.append(dropped)
            size += len(line)
            if len(some.lines) == together or size >= _CHARACTERS_TOGETHER:
                yield some
                some, size = _no_rows(some.first + len(some.lines)), 0
    except KitError as e:
        failed = e
    if some.lines:
        yield some
    if failed:
        raise failed


def _no_rows(first: int) -> ReadRows:
    return ReadRows(first, [], [], [], [], [])


def _rows(
    data: Data, collected: Path, shown: Callable[[CollectedFile], str]
) -> Iterator[tuple[int, str, str, DataError | None, str]]:
    """Yields each row: its source's index, location, JSON line, why it can't be used, and why it is left out."""
    for index, (source, files) in enumerate(zip(data.sources, files_of(data, collected), strict=True)):
        for file in files:
            path = collected / file.path
            if sha256_file(path) != file.sha256:
                raise IntegrityError("was changed since it was collected", where=str(path), fix="repeat the command")
            data_file = DataFile(path, shown(file), languages=tuple(source.languages), form=source.format)
            for where, line, fault, dropped in _read_lines(data_file):
                yield index, where, line, fault, dropped


def name_of(file: CollectedFile, recipe_folder: Path) -> str:
    """Returns a collected file's name for its reader: a path as written in the recipe, or its URL."""
    root = f"{recipe_folder.resolve().as_uri()}/"
    place = str(recipe_folder / file.url.removeprefix(root)) if file.url.startswith(root) else file.url
    return f"{place}: {file.member}" if file.member else place


def source_entries(data: Data, collected: Path, rows: Sequence[int]) -> list[SourceEntry]:
    """Returns the manifest's entries of the sources, with the counts of their usable rows."""
    return [
        SourceEntry(source=source.source.partition("?")[0], sha256=_identity(files), rows=count, licence=source.licence)
        for source, files, count in zip(data.sources, files_of(data, collected), rows, strict=True)
    ]


class FaultyRows:
    """Counts rows that can't be used, and raises if they exceed a share of all."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._first: list[DataError] = []
        self.count = self.rows = 0

    def add(self, error: DataError) -> None:
        """Counts a faulty row.

        Raises:
            DataError: this fault, if none is tolerated.
        """
        if not self._share:
            raise error
        self.count += 1
        if len(self._first) < _SHOWN_FAULTS:
            self._first.append(error)

    def check(self) -> None:
        """Checks that their share is tolerated.

        Raises:
            DataError: it is not; names the first ones.
        """
        if self.count > self._share * (self.count + self.rows):
            lines = "".join(f"\n  {error.where}: {error.what}" for error in self._first)
            raise DataError(
                f"{self.count} of {self.count + self.rows} rows can't be used; data.faulty_rows tolerates a share of "
                f"{self._share:g}. The first:{lines}",
                where="data.sources",
                fix=self._first[0].fix or "correct the rows, or raise data.faulty_rows",
            )


def _read_lines(file: DataFile) -> Iterator[tuple[str, str, DataError | None, str]]:
    """Yields each row of a file: its location, its JSON line, why it can't be used, and why it is left out.

    JSON lines are not parsed yet: `jsons.parse_row` does that, in the processes that check rows.

    Raises:
        DataError: as for `read`.
    """
    if reader_of(file.path.name, file.form) == LINES:
        for number, line in read_lines(file):
            if line and not line.isspace():
                yield f"{file.name}:{number}", line, None, ""
        return
    for where, row, fault, dropped in read_file(file):
        line = "" if row is None else json.dumps(row, ensure_ascii=False)
        yield where, line, fault or (DataError("holds no row", where=where) if row is None else None), dropped


def _identity(files: list[CollectedFile]) -> str:
    if len(files) == 1:
        return files[0].sha256
    return sha256_bytes("".join(f"{file.path}\0{file.sha256}\n" for file in files).encode())
