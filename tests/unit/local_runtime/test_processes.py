"""A process is known by its number and its start, whatever the clock is set to."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from llmops_kit.local_runtime.processes import is_running, started_at
from tests.support.clock import set_clock


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits, and has a name that is hard to read."""
    code = "import ctypes, sys; ctypes.CDLL(None).prctl(15, b'a) R 1 (b'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def test_it_is_the_same_while_it_runs(child: subprocess.Popen[bytes]) -> None:
    started = started_at(child.pid)
    assert 0 <= time.clock_gettime(time.CLOCK_BOOTTIME) - started < 60
    assert is_running(child.pid, started)
    assert not is_running(child.pid, started - 0.5)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(child.pid, started), "nobody waited for it"
    child.wait()
    assert not is_running(child.pid, started)
    with pytest.raises(psutil.NoSuchProcess):
        started_at(child.pid)


def test_a_clock_that_is_set_changes_nothing(child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    started, since_1970 = started_at(child.pid), psutil.Process(child.pid).create_time()
    set_clock(monkeypatch, 3600)
    assert psutil.Process(child.pid).create_time() == since_1970 + 3600
    assert started_at(child.pid) == started
    assert is_running(child.pid, started)


def test_what_the_kit_once_wrote_is_understood(child: subprocess.Popen[bytes]) -> None:
    since_1970 = psutil.Process(child.pid).create_time()
    assert is_running(child.pid, since_1970)
    assert not is_running(child.pid, since_1970 - 60)
