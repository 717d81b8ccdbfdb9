"""A file name stands for one thing: whoever opens a file by its name finds the one that was meant."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.support.checkout import CHECKOUT, PACKAGES

MEANINGS = 3
_SEAM = re.compile(r"(?<=/)(aws|azure|local|azure_native)(?=/|$)")
"""What clouds and targets have alike is one thing in several words."""


def meanings(files: Iterable[Path]) -> Mapping[str, set[str]]:
    """Returns name of a file -> the folders that have one, those of a seam counted once."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in files:
        if not file.name.startswith("__"):
            found[file.name].add(_SEAM.sub("*", file.parent.as_posix()))
    return found


def test_a_file_name_stands_for_one_thing() -> None:
    files = [path.relative_to(CHECKOUT) for room in PACKAGES.values() for path in room.rglob("*.py")]
    assert {name: folders for name, folders in meanings(files).items() if len(folders) > MEANINGS} == {}


def test_a_seam_counts_once() -> None:
    files = [Path("cli/aws/jobs.py"), Path("cli/azure/jobs.py"), Path("twins/ml/jobs.py"), Path("cli/__init__.py")]
    assert meanings(files) == {"jobs.py": {"cli/*", "twins/ml"}}
