"""Programs that start warm are the same programs: what is kept between them is what was installed, nothing else."""

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import psutil
import pytest

from llmops_kit.cli.pulumi_engine.warm import kept_warm
from llmops_kit.cli.pulumi_engine.warm_host import VARIABLE, fingerprint
from tests.emulated.cli.pulumi_engine.test_language_host import Project

# A module of Python's own that nothing else here imports tells whether this process has been warm.
PROGRAM = """\
import os, sys
warm = "colorsys" in sys.modules
import colorsys, pulumi, llmops_kit.infra.files, mine
pulumi.export("seen", {"warm": warm, "mine": mine.text, "word": os.environ.get("WORD"), "folder": os.getcwd(),
    "config": pulumi.Config().get("word"), "argument": sys.argv[0], "parent": os.getppid(), "path": sys.path[0]})
"""


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[psutil.Process]:
    """A warm host for each test, whatever the session keeps; its process."""
    monkeypatch.delenv(VARIABLE, raising=False)
    before = set(psutil.Process().children())
    with kept_warm():
        path = Path(os.environ[VARIABLE])
        (process,) = set(psutil.Process().children()) - before
        wait(path.is_socket, "socket")
        yield process


def wait(condition: Any, what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def make(folder: Path, program: str = PROGRAM) -> Project:
    project = Project(folder, program)
    (folder / "program" / "mine.py").write_text("text = 'one'\n")
    project.environ[VARIABLE] = os.environ[VARIABLE]
    return project


def seen(project: Project) -> dict[str, Any]:
    project.pulumi("up", "--yes", "--skip-preview")
    return json.loads(project.pulumi("stack", "output", "--json"))["seen"]


def warmed(project: Project, host: psutil.Process) -> None:
    """Run the program until the host has imported what it imports."""
    wait(lambda: seen(project)["warm"], "no program was warm")


def test_a_second_program_finds_what_is_installed_and_not_its_own_modules(tmp_path: Path, host: psutil.Process) -> None:
    project = make(tmp_path)
    first = seen(project)
    assert not first["warm"]
    assert first["parent"] == host.pid
    warmed(project, host)
    (tmp_path / "program" / "mine.py").write_text("text = 'another'\n")
    project.environ["WORD"] = "given"
    project.pulumi("config", "set", "word", "configured")
    after = seen(project)
    program = str(tmp_path / "program")
    assert {key: after[key] for key in ("mine", "word", "config", "folder", "path")} == {
        "mine": "another",
        "word": "given",
        "config": "configured",
        "folder": program,
        "path": program,
    }
    project.wait_for_no_process()


def test_a_dynamic_resource_lives_by_warm_programs(tmp_path: Path, host: psutil.Process) -> None:
    target = tmp_path / "file.txt"
    text = "import pulumi\nfrom llmops_kit.infra.files import File\n"
    text += "f = File('f', {path!r}, {text!r})\npulumi.export('seen', {{'warm': 0}})"
    project = make(tmp_path, text.format(path=str(target), text="one"))
    assert "created by one" in project.pulumi("up", "--yes")
    project.write(text.format(path=str(target), text="three"))
    assert "~ 1 updated" in project.pulumi("up", "--yes")
    assert target.read_text() == "three"
    project.pulumi("destroy", "--yes")
    assert not target.exists()
    project.wait_for_no_process()


LAZY = """\
import sys, types
warm = type(sys.modules.get({module!r})) is types.ModuleType
import pulumi, pulumi_aws
{more}
pulumi.export("seen", {{"warm": warm}})
"""


def test_a_service_that_an_sdk_loads_late_is_learned_from_a_later_program(tmp_path: Path, host: psutil.Process) -> None:
    project = make(tmp_path, LAZY.format(module="pulumi_aws", more=""))
    warmed(project, host)
    project.write(LAZY.format(module="pulumi_aws.sns", more="pulumi_aws.sns.Topic"))
    assert not seen(project)["warm"]
    warmed(project, host)


def test_a_link_to_the_same_environment_is_served(tmp_path: Path, host: psutil.Process) -> None:
    project = make(tmp_path)
    (tmp_path / "link").symlink_to(sys.prefix)
    settings = tmp_path / "Pulumi.yaml"
    settings.write_text(settings.read_text().replace(sys.prefix, "link"))
    assert seen(project)["parent"] == host.pid


def test_another_setting_of_python_is_not_served(tmp_path: Path, host: psutil.Process) -> None:
    project = make(tmp_path)
    warmed(project, host)
    project.environ["PYTHONHASHSEED"] = "7"
    after = seen(project)
    assert not after["warm"]
    assert after["parent"] != host.pid


def test_without_the_host_programs_start_by_themselves(tmp_path: Path, host: psutil.Process) -> None:
    project = make(tmp_path)
    warmed(project, host)
    host.kill()
    assert not seen(project)["warm"]
    assert not project.processes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_engine_leaves_the_host_alone(tmp_path: Path, host: psutil.Process, number: int) -> None:
    started = tmp_path / "started"
    project = make(tmp_path, f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\ntime.sleep(600)\n")
    process = project.start("preview")
    wait(started.exists, "the program has not begun")
    assert len(host.children()) > 0
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    wait(lambda: not host.children(recursive=True), "a program goes on")
    project.wait_for_no_process()
    assert host.is_running()


def test_a_launcher_that_waited_no_longer_gets_no_host(host: psutil.Process, tmp_path: Path) -> None:
    """It became the language host itself: what comes late must not speak into its output."""
    host.suspend()
    launcher, output = launch(tmp_path)
    launcher.close()
    host.resume()
    assert output.read() == ""
    output.close()
    wait(lambda: not host.children(), "it stays")
    assert host.is_running()


def test_a_host_ends_with_a_launcher_that_has_not_read_its_answer(host: psutil.Process, tmp_path: Path) -> None:
    launcher, output = launch(tmp_path)
    wait(lambda: select.select([launcher], [], [], 0)[0], "answer")
    launcher.close()
    wait(lambda: not host.children(), "it stays")
    assert "Traceback" not in output.read()
    output.close()


def launch(folder: Path) -> tuple[socket.socket, TextIO]:
    """Ask for a host as a launcher does: the connection, and what the host will say."""
    hello = {"python": fingerprint(os.environ), "environ": {}, "folder": str(folder), "arguments": ["127.0.0.1:1"]}
    text = json.dumps(hello).encode()
    heard, said = os.pipe()
    launcher = socket.socket(socket.AF_UNIX)
    launcher.connect(os.environ[VARIABLE])
    socket.send_fds(launcher, [len(text).to_bytes(8, "big")], [said] * 3)
    launcher.sendall(text)
    os.close(said)
    return launcher, os.fdopen(heard)


def test_it_ends_with_who_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    with kept_warm():
        folder = Path(os.environ[VARIABLE]).parent
        assert folder.stat().st_mode & 0o777 == 0o700
    assert VARIABLE not in os.environ
    assert not folder.exists()
