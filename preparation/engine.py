"""Where rows are while they are prepared: in this process, or in stages on disk through Daft."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from contract.documents.collected import CollectedFile
from contract.documents.recipe_data import Data
from preparation.examine import Examined, RowRules
from preparation.reading import read_sources


class ExaminedRow(NamedTuple):
    """A row's number, source and place, and what the rules say of it. Its line and words may be left out."""

    number: int
    source: int
    where: str
    said: Examined


class RowEngine(Protocol):
    """What a preparation asks of its rows."""

    def examined(self) -> Iterator[ExaminedRow]:
        """Every row, in order."""
        ...

    def near_duplicates(self, left_out: Sequence[int]) -> dict[int, int]:
        """Rows too similar to one before them -> the one that is kept; `left_out` are not looked at."""
        ...

    def overlapping(self, trained: Sequence[int], held_out: Sequence[int]) -> list[int]:
        """Those of `trained` that share `overlap_words` consecutive words with one of `held_out`."""
        ...

    def lines(self) -> Iterator[tuple[int, str]]:
        """Number and JSON line of each row that no rule for single rows dropped, in order."""
        ...


class InProcess:
    """Rows in memory, for recipes that set nothing of `data.prepare`: no library but pydantic is imported."""

    def __init__(self, data: Data, collected: Path, shown: Callable[[CollectedFile], str]) -> None:
        self._data, self._collected, self._shown = data, collected, shown
        self._lines: list[tuple[int, str]] = []

    def examined(self) -> Iterator[ExaminedRow]:
        rules = RowRules(self._data)
        for row in read_sources(self._data, self._collected, self._shown):
            said = rules.fault(row.fault) if row.fault else rules.examine(row.line, row.where)
            if said.line:
                self._lines.append((row.number, said.line))
            yield ExaminedRow(row.number, row.source, row.where, said)

    def near_duplicates(self, left_out: Sequence[int]) -> dict[int, int]:
        raise NotImplementedError

    def overlapping(self, trained: Sequence[int], held_out: Sequence[int]) -> list[int]:
        raise NotImplementedError

    def lines(self) -> Iterator[tuple[int, str]]:
        yield from self._lines
