"""Engines that process rows: in this process, or in stages on disk through Daft."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from llmops_kit.core.documents.collected import CollectedFile
from llmops_kit.core.documents.recipe_data import Data
from llmops_kit.data_pipeline.examine import Examined, RowRules
from llmops_kit.data_pipeline.reading import read_sources

_ROWS_TOGETHER = 8192


class ExaminedRows(NamedTuple):
    """Consecutive rows, in columns, without an object for each row."""

    numbers: list[int]
    """Each row's index among all rows."""
    sources: list[int]
    """Each row's source's index in the recipe."""
    places: list[str]
    """Each row's file and line."""
    said: dict[str, list[Any]]
    """Field of `Examined` -> each row's. Lines and words may be left out."""


class RowEngine(Protocol):
    """The operations of a preparation on its rows."""

    def examined(self) -> Iterator[ExaminedRows]:
        """Yields every row, in order."""
        ...

    def near_duplicates(self, left_out: Sequence[int]) -> dict[int, int]:
        """Returns rows too similar to an earlier one -> the one that is kept; ignores `left_out`."""
        ...

    def overlapping(self, trained: Sequence[int], held_out: Sequence[int]) -> list[int]:
        """Returns the rows of `trained` that share `overlap_words` consecutive words with one of `held_out`."""
        ...

    def lines(self) -> Iterator[tuple[Any, Any]]:
        """Yields numbers and JSON lines, as pyarrow arrays, of the rows that no rule for single rows dropped: several
        at a time, in order.
        """
        ...


class InProcess:
    """Rows in memory, for recipes without `data.prepare`; imports only pydantic and pyarrow."""

    def __init__(self, data: Data, collected: Path, shown: Callable[[CollectedFile], str]) -> None:
        self._data, self._collected, self._shown = data, collected, shown
        self._lines: list[tuple[int, str]] = []

    def examined(self) -> Iterator[ExaminedRows]:
        rules = RowRules(self._data)
        for rows in read_sources(self._data, self._collected, self._shown, _ROWS_TOGETHER):
            said = rules.examine_all(rows.lines, rows.places, rows.faults, rows.dropped)
            numbers = list(range(rows.first, rows.first + len(said)))
            self._lines += [(number, each.line) for number, each in zip(numbers, said, strict=True) if each.line]
            columns = dict(zip(Examined._fields, map(list, zip(*said, strict=True)), strict=True))
            yield ExaminedRows(numbers, rows.sources, rows.places, columns)

    def near_duplicates(self, left_out: Sequence[int]) -> dict[int, int]:
        raise NotImplementedError

    def overlapping(self, trained: Sequence[int], held_out: Sequence[int]) -> list[int]:
        raise NotImplementedError

    def lines(self) -> Iterator[tuple[Any, Any]]:
        import pyarrow as pa

        for start in range(0, len(self._lines), _ROWS_TOGETHER):
            numbers, lines = zip(*self._lines[start : start + _ROWS_TOGETHER], strict=True)
            yield pa.array(numbers, pa.int64()), pa.array(lines, pa.large_string())
