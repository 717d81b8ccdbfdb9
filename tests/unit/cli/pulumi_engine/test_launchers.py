"""The launchers beside the engine: which Python they run, and how they end."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from llmops_kit.cli.pulumi_engine.host_folder import add_language_host
from llmops_kit.cli.pulumi_engine.version import FOLDER


def engine_home(folder: Path) -> Path:
    """The home of an engine that no test here starts."""
    pulumi = folder / "engine" / "bin" / "pulumi"
    pulumi.parent.mkdir(parents=True)
    pulumi.touch()
    return folder / "engine"


@pytest.fixture
def engine_bin(tmp_path: Path) -> Path:
    folder = add_language_host(engine_home(tmp_path))
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
    assert "fix:" in message


def test_the_launchers_of_the_package_are_executable_scripts() -> None:
    for name in ("pulumi-language-python", "pulumi-resource-pulumi-python"):
        script = FOLDER / "bin" / name
        assert script.read_text().startswith("#!/bin/sh\n")
        assert os.access(script, os.X_OK)


@pytest.mark.parametrize("launcher", ["pulumi-language-python", "pulumi-resource-pulumi-python"])
def test_a_launcher_that_is_ended_at_once_says_nothing(tmp_path: Path, launcher: str) -> None:
    """As engines do: the first language host of a preview answers two questions. A traceback would be in its output."""
    engine_bin = add_language_host(engine_home(tmp_path))
    tmp_path.chmod(0o700)
    folder = tmp_path / f"llmops-{os.getuid()}"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as host:
        host.bind(str(folder / "engine-1"))
        host.listen()
        host.settimeout(60)  # a launcher that never connects fails the test instead of blocking it
        environ = {
            "PATH": "/usr/bin:/bin",
            "TMPDIR": str(tmp_path),
            "LLMOPS_WARM_HOST": str(folder / "engine-1"),
            "LONG": "x" * 100_000,  # more than the connection takes
            "LONGER": "x" * 100_000,
            "LONGEST": "x" * 100_000,
        }
        command = [engine_bin / launcher, "127.0.0.1:1"]
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        connection, _ = host.accept()
        with connection:
            connection.recv(8)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=120) == ("", None)
