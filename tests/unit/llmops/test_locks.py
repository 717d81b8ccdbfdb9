import json
import os
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psutil
import pytest

from contract.errors import KitError
from llmops.locks import locks_of, take_over


def write_lock(state: Path, pid: int, host: str = "", age_s: float = 0, stack: str = "dev") -> Path:
    """A lock file as Pulumi's folder backend writes it, with nanoseconds."""
    path = state / ".pulumi/locks/organization/llmops" / stack / f"{pid}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    since = (datetime.now(UTC) - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"
    lock = {"pid": pid, "username": "u", "hostname": host or socket.gethostname(), "timestamp": since}
    path.write_text(json.dumps(lock))
    return path


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path, dead_pid: int) -> None:
    lock = write_lock(tmp_path, dead_pid)
    other = write_lock(tmp_path, dead_pid, stack="other")
    said: list[str] = []
    assert take_over(partial(locks_of, tmp_path, "dev", "llmops"), "dev", said.append)
    assert not lock.exists()
    assert other.exists()
    assert str(dead_pid) in said[0]


def test_a_free_stack_needs_nothing(tmp_path: Path) -> None:
    assert not take_over(partial(locks_of, tmp_path, "dev", "llmops"), "dev", print)


def test_a_number_that_a_later_process_got_counts_as_dead(tmp_path: Path) -> None:
    age = datetime.now(UTC).timestamp() - psutil.Process().create_time() + 60
    write_lock(tmp_path, os.getpid(), age_s=age)
    assert not locks_of(tmp_path, "dev", "llmops")[0].alive
    assert take_over(partial(locks_of, tmp_path, "dev", "llmops"), "dev", print)


def test_a_killed_process_that_nobody_reaped_counts_as_dead(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_lock(tmp_path, process.pid)
    assert locks_of(tmp_path, "dev", "llmops")[0].alive
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the process table
    assert not locks_of(tmp_path, "dev", "llmops")[0].alive
    process.communicate()


def test_a_living_process_is_waited_for(tmp_path: Path) -> None:
    lock = write_lock(tmp_path, os.getpid())
    told = threading.Event()

    def say(line: str) -> None:
        assert "waiting" in line
        told.set()

    def finish() -> None:
        told.wait(10)
        lock.unlink()

    ending = threading.Thread(target=finish)
    ending.start()
    assert not take_over(partial(locks_of, tmp_path, "dev", "llmops"), "dev", say)
    ending.join()


def test_a_living_process_that_takes_too_long_and_another_host_are_errors(tmp_path: Path) -> None:
    lock = write_lock(tmp_path, os.getpid())
    with pytest.raises(KitError, match=f"is being changed by process {os.getpid()}"):
        take_over(partial(locks_of, tmp_path, "dev", "llmops"), "dev", print, wait_s=0)
    lock.unlink()
    lock = write_lock(tmp_path, 1, host="elsewhere")
    with pytest.raises(KitError, match="on elsewhere"):
        take_over(partial(locks_of, tmp_path, "dev", "llmops"), "dev", print)
    assert lock.exists()
