"""Answers from all ranks: each asks some of a suite's batches, and all of them get every answer."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from contract.errors import IntegrityError
from training.ranks import Alone

_TEXTS = TypeAdapter(dict[int, str])
_FOLDER = "answers"


def pooled(texts: Mapping[int, str], rows: int, ranks: Alone) -> dict[int, str]:
    """The texts of all ranks, by their rows' numbers. All ranks call it together.

    They travel as files of JSON, by way of rank 0.

    Args:
        texts: of this rank.
        rows: how many there must be together, numbered from 0.

    Raises:
        IntegrityError: a row has no text, or several, or what arrived is no text.
    """
    if ranks.size == 1:
        return dict(texts)
    with tempfile.TemporaryDirectory() as local:
        folder = ranks.beside_first(Path(local)) / _FOLDER
        folder.mkdir(exist_ok=True)
        (folder / f"rank-{ranks.rank}.json").write_bytes(_TEXTS.dump_json(dict(texts)))
        ranks.collect(folder, "rank-{}.json")
        found = ranks.share(folder if ranks.first else None, Path(local) / "received")
        read = _together(sorted((found or folder).iterdir()), rows)
        ranks.together()  # until then, others read it from this folder
    return read


def _together(files: Iterable[Path], rows: int) -> dict[int, str]:
    found: dict[int, str] = {}
    for path in files:
        try:
            texts = _TEXTS.validate_json(path.read_bytes())
        except ValidationError as e:
            raise IntegrityError("holds no answers", where=path.name, fix="start the run again") from e
        if twice := sorted(found.keys() & texts.keys()):
            raise IntegrityError(f"answers row {twice[0]} once more", where=path.name, fix="start the run again")
        found |= texts
    if found.keys() != set(range(rows)):
        raise IntegrityError(f"{len(found)} of {rows} rows have answers", where=_FOLDER, fix="start the run again")
    return found
