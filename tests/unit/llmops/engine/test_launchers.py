"""Which Python the kit's language host runs in."""

import os
import subprocess
from pathlib import Path

import pytest

from llmops.engine import FOLDER, install


@pytest.fixture
def engine_bin(tmp_path: Path) -> Path:
    folder = tmp_path / "engine"
    folder.mkdir()
    install.add_language_host(folder)
    (folder / "python").write_text(f"{python(tmp_path / 'installer')}\n")
    return folder


def python(venv: Path) -> Path:
    """An executable that says where it is instead of running what it is given."""
    path = venv / "bin" / "python"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\necho $0\n")
    path.chmod(0o755)
    return path


def chosen(engine_bin: Path, folder: Path, **environ: str) -> str:
    run = subprocess.run(
        [engine_bin / "pulumi-language-python", "127.0.0.1:1"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **environ},
        text=True,
        capture_output=True,
    )
    return run.stdout.strip() or run.stderr


@pytest.mark.parametrize(
    "runtime",
    [
        "runtime:\n  name: python\n  options:\n    toolchain: pip\n    virtualenv: .venv\n",
        "runtime: {name: python, options: {toolchain: pip, virtualenv: .venv}}\n",
        'runtime:\n  name: python\n  options:\n    virtualenv: ".venv" # ours\n',
    ],
)
def test_pulumi_yaml_decides_from_every_folder_below(engine_bin: Path, tmp_path: Path, runtime: str) -> None:
    project = tmp_path / "project"
    (project / "infra").mkdir(parents=True)
    (project / "Pulumi.yaml").write_text(f"name: one\n{runtime}main: infra\n")
    ours, other = python(project / ".venv"), python(tmp_path / "active")
    for folder in (project, project / "infra"):
        assert chosen(engine_bin, folder, VIRTUAL_ENV=str(other.parents[1])) == str(ours)


def test_an_absolute_virtualenv(engine_bin: Path, tmp_path: Path) -> None:
    venv = python(tmp_path / "else where")
    (tmp_path / "Pulumi.yaml").write_text(f"runtime:\n  options:\n    virtualenv: {tmp_path}/else where\n")
    assert chosen(engine_bin, tmp_path) == str(venv)


def test_then_the_active_environment_then_the_installers(engine_bin: Path, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: one\nruntime: python\n")
    active = python(tmp_path / "active")
    assert chosen(engine_bin, tmp_path, VIRTUAL_ENV=str(active.parents[1])) == str(active)
    assert chosen(engine_bin, tmp_path) == str(tmp_path / "installer" / "bin" / "python")


def test_no_python_is_one_clear_error(engine_bin: Path, tmp_path: Path) -> None:
    (engine_bin / "python").write_text("/nowhere/python\n")
    (tmp_path / "Pulumi.yaml").write_text("runtime: {name: python, options: {virtualenv: .venv}}\n")
    message = chosen(engine_bin, tmp_path)
    assert f"{tmp_path}/.venv" in message
    assert "way out:" in message


def test_the_launchers_of_the_package_are_executable_scripts() -> None:
    for name in ("pulumi-language-python", "pulumi-resource-pulumi-python"):
        script = FOLDER / "bin" / name
        assert script.read_text().startswith("#!/bin/sh\n")
        assert os.access(script, os.X_OK)
