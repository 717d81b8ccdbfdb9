"""Runs a job as its parent: `python -I -S warden.py`, with the standard library only. It holds the job's process tree.

The first line of its input is the job, a JSON object: argv, environ (complete), cwd, and `after`, commands that run
when the job has ended. Then orders follow, a line each: `stop` (SIGTERM to the job's first process, as for a container)
and `kill`. The end of its input means that the process that started the job is gone, and has the effect of `kill`. When
the first process ends, every other process of the tree is killed, as in a container. The exit code is the first
process's, or 128 plus the number of the signal that ended it.
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_END_SECONDS = 10.0  # a killed process may hang in the kernel, and is then left behind


class WardenRun(TypedDict):
    """A job, in the first line of the input."""

    argv: list[str]
    environ: dict[str, str]
    cwd: str
    after: list[list[str]]


def encoded(job: WardenRun) -> bytes:
    """Returns the first line of the input."""
    return json.dumps(job).encode() + b"\n"


def main() -> int:
    """Runs the job that the input describes to its end; returns its exit code."""
    orders = _Orders()
    job: WardenRun = json.loads(orders.next())
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # processes that lost their parent become children of this one
    first = _start(job, libc)
    status = _watch(first, orders)
    _kill_tree()
    for command in job["after"]:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


class _Orders:
    """Lines of the input, the job's first; always "" after its end."""

    def __init__(self) -> None:
        self._kept = b""

    def ready(self) -> bool:
        """Returns whether a complete line has been read that `next` has not returned yet."""
        return b"\n" in self._kept

    def next(self) -> str:
        """Waits for the next line and returns it, or an empty string at the end of the input."""
        while not self.ready():
            if not (read := os.read(0, 65536)):
                return ""
            self._kept += read
        line, _, self._kept = self._kept.partition(b"\n")
        return line.decode()


def _start(job: WardenRun, libc: ctypes.CDLL) -> int:
    warden = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != warden:  # it was killed before prctl, so the signal will never arrive
            os._exit(1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.umask(0o022)  # that of a container, not of the process that started the job
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and so would the job
        os.chdir(job["cwd"])
        os.execve(job["argv"][0], job["argv"], job["environ"])
    except OSError as e:
        print(f"exec {job['argv'][0]}: {e.strerror}", flush=True)
    os._exit(127)


def _watch(first: int, orders: _Orders) -> int:
    """Carries out orders until the first process ends; returns its wait status."""
    ended = os.pidfd_open(first)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(0, select.POLLIN | select.POLLHUP)
    while True:
        if not orders.ready() and ended in dict(poll.poll()):
            return os.waitpid(first, 0)[1]
        if orders.next() == "stop":
            os.kill(first, signal.SIGTERM)  # not waited for yet, so the pid can't belong to another process
        else:
            os.kill(first, signal.SIGKILL)
            return os.waitpid(first, 0)[1]


def _kill_tree() -> None:
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline:
        for pid in _descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def _descendants() -> list[int]:
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(stat[1])
    found = [os.getpid()]
    for each in found:
        found += [pid for pid, parent in parents.items() if parent == each]
    return found[1:]


if __name__ == "__main__":
    sys.exit(main())
