"""Running a program of an image: its lines, and the error that it ends with."""

import os
import sys
from pathlib import Path

import pytest

import llmops_kit
from llmops_kit.core.errors import DataError, KitError
from llmops_kit.core.programs import import_path, run_program
from tests.support.checkout import IMPORT_PATH

PROGRAM = """\
import sys
from llmops_kit.core.errors import DataError
from llmops_kit.core.programs import tell_error
print("step=1", flush=True)
print("A library warns: {", file=sys.stderr)
if sys.argv[1] == "told":
    tell_error(DataError("lacks a täg", where="rows.jsonl:3", fix="add it"))
    print('{"error": "of a library"}', file=sys.stderr)
sys.exit(sys.argv[1] != "well" and 3)
"""


def run(tmp_path: Path, how: str) -> list[str]:
    (tmp_path / "program.py").write_text(PROGRAM)
    said: list[str] = []
    command = [sys.executable, tmp_path / "program.py", how]
    run_program(command, {"PYTHONPATH": IMPORT_PATH}, said.append, what="counting ended", fix="count again")
    return said


def test_its_lines_are_told(tmp_path: Path) -> None:
    assert run(tmp_path, "well") == ["step=1"]


def test_its_error_is_raised_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        run(tmp_path, "told")
    assert (raised.value.what, raised.value.where, raised.value.fix) == ("lacks a täg", "rows.jsonl:3", "add it")


def test_an_end_without_an_error_shows_the_last_lines(tmp_path: Path) -> None:
    with pytest.raises(KitError) as raised:
        run(tmp_path, "silently")
    assert str(raised.value) == "counting ended with exit code 3:\n  A library warns: {\n  fix: count again"


def test_what_its_caller_raises_ends_it(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("print('begun', flush=True)\nwhile True: pass\n")

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_program([sys.executable, tmp_path / "program.py"], {}, stop, what="", fix="")


def test_the_import_path_is_the_same_in_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some have the folders twice: as they are installed, and from PYTHONPATH."""
    before, portions = import_path(), list(llmops_kit.__path__)
    assert len(before.split(os.pathsep)) == len(set(portions))
    monkeypatch.setattr(llmops_kit, "__path__", [*reversed(portions), portions[0]])
    assert import_path() == before
