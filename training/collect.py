"""Collect: bring a recipe's sources into one folder."""

import os
import shutil
from pathlib import Path

from contract.documents.recipe import Data
from contract.errors import DataError


def collect(data: Data, recipe_folder: Path, target: Path) -> None:
    """Copy each source to the same relative path below `target`.

    Args:
        data: the recipe's data section.
        recipe_folder: what its paths are relative to.
        target: a folder that is empty or does not exist.

    Raises:
        DataError: a source that is missing, listed twice, or outside of the recipe's folder.
    """
    root = recipe_folder.resolve()
    seen: set[Path] = set()
    for index, source in enumerate(data.sources):
        where = f"data.sources.{index}.source: {source.source}"
        path = Path(os.path.normpath(root / source.source))
        if not path.resolve().is_relative_to(root):
            raise DataError("lies outside of the recipe's folder", where=where, fix=f"copy the file below {root}")
        if not path.is_file():
            raise DataError("is not a file", where=where, fix=f"correct the path; it is relative to {root}")
        if path in seen:
            raise DataError("is listed twice", where=where, fix="list each file once")
        seen.add(path)
        copy = target / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
