"""A user's own `training` may not take the place of the kit's, and is named at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmops import __version__
from llmops.hidden_packages import PACKAGES, hidden_by


def run(*command: str, cwd: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """A command in a folder, with no PYTHONPATH but one that is given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=cwd, env=inherited | environ, capture_output=True, text=True)


def test_the_kits_own_packages_hide_nothing() -> None:
    assert hidden_by() == []


@pytest.mark.parametrize("name", PACKAGES)
def test_a_folder_of_a_users_that_hides_a_package_is_named(name: str, tmp_path: Path) -> None:
    own = tmp_path / name / "__init__.py"
    own.parent.mkdir()
    own.touch()
    told = run(sys.executable, "-m", "llmops", "--version", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (2, "")
    assert f"hidden by {own}" in told.stderr
    assert "the command `llmops` works" in told.stderr


def test_the_command_works_beside_such_a_folder_unless_it_is_in_the_path(tmp_path: Path) -> None:
    (tmp_path / "training.py").touch()
    command = str(Path(sys.executable).with_name("llmops"))
    assert run(command, "--version", cwd=tmp_path).returncode == 0
    told = run(command, "--version", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert told.returncode == 2
    assert f"hidden by {tmp_path / 'training.py'}" in told.stderr


def test_a_folder_that_is_no_package_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    told = run(sys.executable, "-m", "llmops", "--version", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (0, f"{__version__}\n")
