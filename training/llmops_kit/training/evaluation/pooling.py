"""Combines the results of all ranks for a suite's rows: each takes some of the batches, and all of them get
everything.
"""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from llmops_kit.core.errors import IntegrityError
from llmops_kit.training.ranks import Alone

_T = TypeVar("_T")
TEXTS = TypeAdapter(dict[int, str])
LOSSES = TypeAdapter(dict[int, float])
_FOLDER = "answers"


def pooled(values: Mapping[int, _T], count: int, ranks: Alone, stored: "TypeAdapter[dict[int, _T]]") -> dict[int, _T]:
    """Returns the values of all ranks, by their numbers. All ranks must call it.

    They are exchanged as JSON files, by way of rank 0.

    Args:
        values: of this rank.
        count: the total number of values, numbered from 0.
        stored: TEXTS or LOSSES.

    Raises:
        IntegrityError: a number has no value, or several, or a received value is invalid.
    """
    if ranks.size == 1:
        return dict(values)
    with tempfile.TemporaryDirectory() as local:
        folder = ranks.beside_first(Path(local)) / _FOLDER
        folder.mkdir(exist_ok=True)
        (folder / f"rank-{ranks.rank}.json").write_bytes(stored.dump_json(dict(values)))
        ranks.collect(folder, "rank-{}.json")
        found = ranks.share(folder if ranks.first else None, Path(local) / "received")
        read = _together(sorted((found or folder).iterdir()), count, stored)
        ranks.together()  # until then, others read it from this folder
    return read


def _together(files: Iterable[Path], count: int, stored: "TypeAdapter[dict[int, _T]]") -> dict[int, _T]:
    found: dict[int, _T] = {}
    for path in files:
        try:
            values = stored.validate_json(path.read_bytes())
        except ValidationError as e:
            raise IntegrityError("holds no answers", where=path.name, fix="start the run again") from e
        if twice := sorted(found.keys() & values.keys()):
            raise IntegrityError(f"answers row {twice[0]} once more", where=path.name, fix="start the run again")
        found |= values
    if found.keys() != set(range(count)):
        raise IntegrityError(f"{len(found)} of {count} rows have answers", where=_FOLDER, fix="start the run again")
    return found
