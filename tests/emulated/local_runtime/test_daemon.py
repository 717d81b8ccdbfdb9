"""Supervision without endpoints: detached, nothing left behind, patient with what keeps ending."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from llmops_kit.local_runtime.daemon import Daemon, Program

Eventually = Callable[..., None]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "home")
    daemon.ensure()
    yield daemon
    daemon.shutdown()


def shell(daemon: Daemon, script: str, name: str = "one") -> Program:
    return Program(name, ["/bin/sh", "-c", script], {"PATH": "/usr/bin:/bin"}, daemon.home, f"logs/{name}.log")


def sleepers(seconds: int) -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", str(seconds)]]


def test_it_is_detached_from_its_starter(tmp_path: Path) -> None:
    home = tmp_path / "home"
    code = (
        "from pathlib import Path; from llmops_kit.local_runtime.daemon import Daemon; "
        f"Daemon(Path({str(home)!r})).ensure()"
    )
    read, write = os.pipe()
    starter = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, pass_fds=(write,), start_new_session=True
    )
    os.close(write)
    assert starter.communicate(timeout=120) == (b"", None)
    assert os.read(read, 1) == b""  # supervisord does not hold the starter's pipe
    os.close(read)
    daemon = Daemon(home)
    try:
        pid = daemon.pid()
        assert os.getsid(pid) != starter.pid
        assert daemon.alive()
        targets = {str(Path(f"/proc/{pid}/fd/{fd}").readlink()) for fd in (0, 1, 2)}
        assert targets == {"/dev/null"}
    finally:
        daemon.shutdown()
    assert not daemon.alive()


def test_a_program_takes_its_children_along(daemon: Daemon, eventually: Eventually) -> None:
    daemon.add(shell(daemon, "sleep 1001 & sleep 1001"))
    eventually(lambda: len(sleepers(1001)) == 2)
    first = sleepers(1001)
    os.kill(daemon.programs()["one"].pid, signal.SIGKILL)
    eventually(lambda: len(sleepers(1001)) == 2 and not set(first) & set(sleepers(1001)))
    daemon.remove(["one"])
    eventually(lambda: sleepers(1001) == [])


def test_a_program_that_keeps_ending_waits_longer_each_time(daemon: Daemon, eventually: Eventually) -> None:
    daemon.add(shell(daemon, "echo no such file; exit 3"))
    eventually(lambda: any("next one in 2 s" in line for line in daemon.log_tail("logs/one.log")))
    assert "no such file" in daemon.log_tail("logs/one.log")
    assert daemon.programs()["one"].starts >= 5
    daemon.remove(["one"])
    assert daemon.programs() == {}


def test_a_removed_socket_does_not_lose_the_supervisor(daemon: Daemon, eventually: Eventually) -> None:
    daemon.add(shell(daemon, "exec sleep 1002"))
    old = daemon.pid()
    (daemon.home / "supervisord.sock").unlink()
    assert not daemon.alive()
    daemon.ensure()
    assert daemon.pid() not in (0, old)
    eventually(lambda: sleepers(1002))
    assert sleepers(1002) == [daemon.programs()["one"].pid]


def test_a_process_that_got_the_number_of_a_program_is_not_taken_for_it(daemon: Daemon, eventually: Eventually) -> None:
    daemon.add(shell(daemon, "exec sleep 1004"))
    eventually(lambda: daemon.started("one").running)
    assert sleepers(1004) == [daemon.started("one").pid]
    written = daemon.home / "programs" / "one.starts"
    written.write_text(json.dumps(json.loads(written.read_text()) | {"pid": os.getpid()}))
    assert (daemon.started("one").running, daemon.started("one").pid) == (False, 0)


def test_adding_twice_starts_once(daemon: Daemon, eventually: Eventually) -> None:
    for _ in range(2):
        daemon.add(shell(daemon, "exec sleep 1003"))
    eventually(lambda: daemon.programs()["one"].starts == 1)
    assert [p.running for p in daemon.programs().values()] == [True]


def test_removing_what_is_not_there_is_no_error(daemon: Daemon) -> None:
    daemon.remove(["nothing"])
    daemon.shutdown()
    daemon.remove(["nothing"])
    assert daemon.programs() == {}
