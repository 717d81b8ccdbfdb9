"""A confined program reaches nothing of its starter's: each way by itself, and which one is chosen."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmops_kit.local_runtime import confined, confinement
from llmops_kit.local_runtime.confinement import ConfinedProgram, Way
from tests.support.runs import intruder

PYTHON = Path("/usr/bin/python3")  # one that every user can reach
IS_ROOT = os.geteuid() == 0
USER = confinement.free_user("tests", [])
OTHER = 54_321  # a user without rights, for what one can do who is not root
WAYS = [
    pytest.param(Way(USER, True), marks=pytest.mark.skipif(not IS_ROOT, reason="only root has other users")),
    pytest.param(Way(USER, False), marks=pytest.mark.skipif(not IS_ROOT, reason="only root has other users")),
    pytest.param(Way(0, True)),
]
pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason=f"there is no {PYTHON}")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder below which everybody may look."""
    made = Path(tempfile.mkdtemp(dir="/var/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def launch(program: ConfinedProgram, way: Way, document: Path) -> "subprocess.Popen[bytes]":
    """Start a program; where root tests what is not root's, as somebody who is not root."""
    with document.with_name("output").open("wb") as output:
        if way != Way(0, True) or not IS_ROOT:
            return confinement.start(program, way, document, output)
        document.write_text(json.dumps(confinement._document(program, way)))
        launcher = document.with_name("confined.py")
        shutil.copy(confined.__file__, launcher)
        for path in (document, launcher):
            path.chmod(0o644)
        command = [str(PYTHON), "-I", "-S", str(launcher), str(document)]
        somebody: Any = {"user": OTHER, "group": OTHER, "extra_groups": []}
        return subprocess.Popen[bytes](
            command, stdout=output, stderr=output, start_new_session=True, env={}, **somebody
        )


def program_in(folder: Path, way: Way, argv: list[str], **environ: str) -> ConfinedProgram:
    """A program that may read and write a folder each."""
    for name in ("read", "write"):
        (folder / name).mkdir()
    owner = way.user or (OTHER if IS_ROOT and way.namespaces else 0)
    if owner:
        os.chown(folder / "write", owner, owner)
    environ = {"PATH": "/usr/bin:/bin", **environ}
    return ConfinedProgram(argv, environ, folder / "write", inputs=[folder / "read"], write=[folder / "write"])


def said(folder: Path) -> str:
    return (folder / "output").read_text()


def intrude(folder: Path, way: Way) -> set[str]:
    """What the planted program manages, of all that its starter has."""
    (folder / "secret").mkdir()
    key, store = folder / "secret" / "signing.key", folder / "store"
    key.write_text("key")
    key.chmod(0o600)
    store.mkdir()
    owner = OTHER if IS_ROOT and way == Way(0, True) else os.geteuid()
    code = folder / "read" / "intruder.py"
    program = program_in(folder, way, [str(PYTHON), "-I", "-S", str(code)])
    shutil.copy(intruder.__file__, code)
    for path in (key.parent, key, store):
        os.chown(path, owner, owner)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as control:
        control.bind(str(store / "socket"))
        control.listen()
        (store / "socket").chmod(0o700)
        os.chown(store / "socket", owner, owner)
        starter = subprocess.Popen(["sleep", "300"], user=owner if IS_ROOT else None)
        targets = {
            "key": str(key), "pid": starter.pid, "own": str(folder / "write"), "socket": str(store / "socket"),
            "write": [str(store / "new"), str(folder / "read" / "new"), str(code)], "remove": [str(folder / "write")],
            "list": [str(folder / "secret")] if way != Way(USER, False) else [], "port": server.getsockname()[1],
        }  # fmt: skip
        program.environ["TARGETS"] = json.dumps(targets)
        try:
            assert launch(program, way, folder / "document").wait() == 0, said(folder)
        finally:
            starter.kill()
            starter.wait()
    return set(json.loads(said(folder)))


@pytest.mark.vulnerability(13)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_vulnerability_13_a_confined_program_gets_at_nothing_of_its_starters(folder: Path, way: Way) -> None:
    assert intrude(folder, way) == ({"own"} if way.namespaces else {"own", "network"})


def test_without_confinement_the_same_program_gets_at_everything(folder: Path) -> None:
    managed = intrude(folder, Way(0, False))
    assert {"own", "key", "key by /proc", "memory", "environment", "signal", "ptrace", "socket", "network"} <= managed
    assert {f"list {folder}/secret", f"write {folder}/store/new", f"remove {folder}/write"} <= managed


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_exit_code_is_the_programs_and_sigterm_reaches_it(folder: Path, way: Way) -> None:
    code = "import signal, sys; signal.signal(15, lambda *_: sys.exit(7)); print('ready', flush=True); signal.pause()"
    program = program_in(folder, way, [str(PYTHON), "-I", "-S", "-c", code])
    process = launch(program, way, folder / "document")
    wait_for(lambda: "ready" in said(folder))
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(120) == 7


@pytest.mark.parametrize("way", [way for way in WAYS if way.values[0].namespaces], ids=str)  # type: ignore[attr-defined]
def test_what_the_program_started_ends_with_it_and_with_its_starter(folder: Path, way: Way) -> None:
    code = "import os; os.fork() or (os.setsid(), os.execv('/bin/sleep', ['sleep', '600.25']))\nprint(1, flush=True)\n"
    program = program_in(folder, way, [str(PYTHON), "-I", "-S", "-c", code])
    assert launch(program, way, folder / "document").wait(120) == 0
    wait_for(lambda: not sleeping("600.25"))
    waits = replace(program, argv=[*program.argv[:-1], f"{code}import time; time.sleep(600)"])
    process = launch(waits, way, folder / "document")
    wait_for(lambda: sleeping("600.25"))
    process.kill()
    process.wait()
    wait_for(lambda: not sleeping("600.25"))


@pytest.mark.skipif(not IS_ROOT, reason="only root has other users")
def test_what_a_user_without_namespaces_left_is_found_by_the_user(folder: Path) -> None:
    way = Way(USER, False)
    code = "import os; os.fork() or (os.setsid(), os.execv('/bin/sleep', ['sleep', '600.75']))\n"
    assert launch(program_in(folder, way, [str(PYTHON), "-I", "-c", code]), way, folder / "document").wait(120) == 0
    wait_for(lambda: sleeping("600.75"))
    confinement.end_all(os.geteuid())
    confinement.end_all(USER)
    wait_for(lambda: not sleeping("600.75"))


def test_the_best_way_that_works_is_taken_and_why_not_a_better_one_is_told(folder: Path) -> None:
    user = USER if IS_ROOT else 0
    program = program_in(folder, Way(user, True), ["/bin/sh"])
    assert confinement.find_way(program, PYTHON, user, folder / "document") == Way(user, True)
    broad = replace(program, read=[folder], hidden=[folder / "secret"])
    way = confinement.find_way(broad, PYTHON, user, folder / "document")
    assert (way.keeps_secrets, way.why_not) == (False, f"{folder}, which it has to read, holds {folder}/secret")
    if IS_ROOT:
        (folder / "read" / "rows.jsonl").write_text("")
        (folder / "read" / "rows.jsonl").chmod(0o600)
        way = confinement.find_way(program, PYTHON, user, folder / "document")
        assert (way.keeps_secrets, way.why_not) == (False, f"{folder}/read/rows.jsonl is out of reach")
        assert confinement.find_way(program, PYTHON, 0, folder / "document").why_not.startswith(
            "root may not give files"
        )


def test_everything_has_a_user_of_its_own() -> None:
    first = confinement.free_user("a", [])
    assert first == confinement.free_user("a", [])
    assert len({first, confinement.free_user("b", []), confinement.free_user("a", [first])}) == 3


def sleeping(seconds: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", seconds]]


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
