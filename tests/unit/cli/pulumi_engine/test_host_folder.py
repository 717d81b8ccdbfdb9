"""Two versions of the kit on one machine: neither changes the files that the other one's engine loads."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmops_kit.cli.pulumi_engine import host_folder
from llmops_kit.cli.pulumi_engine.host_folder import add_language_host, path_folder
from llmops_kit.cli.pulumi_engine.version import FOLDER


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where one engine lies that both versions use."""
    pulumi = tmp_path / "3.1.0" / "bin" / "pulumi"
    pulumi.parent.mkdir(parents=True)
    pulumi.write_text("#!/bin/sh\necho v3.1.0\n")
    pulumi.chmod(0o755)
    return tmp_path / "3.1.0"


@pytest.fixture
def other_version(tmp_path: Path) -> Path:
    """The package of a kit with another guard."""
    folder = tmp_path / "other"
    shutil.copytree(FOLDER, folder)
    (folder / "provider_guard.py").write_text("other = True\n")
    return folder


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}


def test_two_versions_have_an_engine_each_with_files_that_the_other_leaves_alone(
    home: Path, other_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = add_language_host(home)
    before = contents(ours)
    monkeypatch.setattr(host_folder, "FOLDER", other_version)
    others = add_language_host(home)
    assert others != ours
    assert (others / "provider_guard.py").read_text() == "other = True\n"
    assert contents(ours) == before
    for folder in (ours, others):
        assert not (folder / "pulumi").is_symlink(), "the engine looks for its plugins where the link leads"
        assert (folder / "pulumi").samefile(home / "bin" / "pulumi")
        assert subprocess.run([folder / "pulumi"], capture_output=True, text=True).stdout == "v3.1.0\n"
    monkeypatch.undo()
    assert add_language_host(home) == ours
    assert contents(ours) == before


def test_two_environments_of_one_version_have_a_python_each(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = sys.executable
    ours, on_path = add_language_host(home), path_folder(home)
    monkeypatch.setattr(sys, "executable", environment(tmp_path))
    others = add_language_host(home)
    assert (ours / "python").read_text() == f"{python}\n"
    assert (others / "python").read_text() == f"{environment(tmp_path)}\n"
    assert (on_path.resolve(), path_folder(home).resolve()) == (ours, others)


def environment(folder: Path) -> str:
    """The Python of another environment."""
    python = folder / "environment" / "python"
    python.parent.mkdir(exist_ok=True)
    python.touch()
    return str(python)


def test_what_is_on_path_follows_an_update(home: Path, other_version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_language_host(home)
    on_path = path_folder(home)
    monkeypatch.setattr(host_folder, "FOLDER", other_version)
    updated = add_language_host(home)
    assert path_folder(home) == on_path
    assert on_path.resolve() == updated


def test_a_changed_file_and_another_engine_are_replaced(home: Path) -> None:
    folder = add_language_host(home)
    (folder / "provider_guard.py").write_text("")
    (home / "bin" / "pulumi").unlink()
    (home / "bin" / "pulumi").write_text("built again")
    assert add_language_host(home) == folder
    assert (folder / "provider_guard.py").read_bytes() == (FOLDER / "provider_guard.py").read_bytes()
    assert (folder / "pulumi").read_text() == "built again"


def test_a_file_system_without_hard_links_has_a_copy(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(source, target)

    monkeypatch.setattr(os, "link", refuse)
    folder = add_language_host(home)
    before = contents(folder)
    assert (folder / "pulumi").read_bytes() == (home / "bin" / "pulumi").read_bytes()
    assert add_language_host(home) == folder
    assert contents(folder) == before


def test_folders_of_environments_that_are_gone_are_removed(
    home: Path, tmp_path: Path, other_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {add_language_host(home), path_folder(home)}
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", environment(tmp_path))
        add_language_host(home)
    Path(environment(tmp_path)).unlink()
    assert len(list((home / "hosts").iterdir())) == 4
    monkeypatch.setattr(host_folder, "FOLDER", other_version)
    ours.add(add_language_host(home))
    assert set((home / "hosts").iterdir()) == ours
