"""Finds the source of a dataset version's row, so that errors name the user's file instead of the version's."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.recipe_data import Data
from llmops_kit.core.errors import DataError, KitError
from llmops_kit.core.layout import MANIFEST
from llmops_kit.data_pipeline.reading import name_of, read_sources
from llmops_kit.training.data.lines import read_lines
from llmops_kit.training.data.rows import parse_row

_ROWS_TOGETHER = 1024


@contextmanager
def naming_sources(data: Data, recipe_folder: Path, collected: Path, dataset: Path) -> Iterator[None]:
    """Makes errors of the block that name a row of a dataset version name the file and line of its source.

    Args:
        data: of the recipe that the version was made from.
        recipe_folder: the recipe's paths are relative to it.
        collected: the folder with the collected files.
        dataset: the version's folder.
    """
    try:
        yield
    except KitError as e:
        e.where = source_place(e.where, data, recipe_folder, collected, dataset) or e.where
        raise


def source_place(where: str, data: Data, recipe_folder: Path, collected: Path, dataset: Path) -> str:
    """Returns the place of a row's source, with what follows the row's number.

    Args:
        where: `file:number` of a split's file in the version's folder, with or without that folder.
        data, recipe_folder, collected, dataset: as for `naming_sources`.

    Returns:
        Empty if `where` names no row, or no source contains the row unchanged: preparing replaced a part of it.
    """
    plain = where.removeprefix(f"{dataset}/")
    for file in DatasetManifest.load(dataset / MANIFEST).splits.values():
        if match := re.match(rf"{re.escape(file)}:(\d+)", plain):
            place = _find(_line(dataset / file, int(match[1])), data, recipe_folder, collected)
            return place and place + plain[match.end() :]
    return ""


def _line(path: Path, number: int) -> str:
    return next(line for at, line in enumerate(read_lines(path), start=1) if at == number).decode()


def _find(line: str, data: Data, recipe_folder: Path, collected: Path) -> str:
    """Returns the place of the first source row that becomes a line."""
    for rows in read_sources(data, collected, lambda file: name_of(file, recipe_folder), _ROWS_TOGETHER):
        for place, source in zip(rows.places, rows.lines, strict=True):
            with suppress(DataError):  # of a row that was dropped
                if parse_row(source, place).to_line().rstrip("\n") == line:
                    return place
    return ""
