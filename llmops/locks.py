"""Take over the lock of an update whose process on this host is dead. Pulumi's own backends in a folder only."""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

from contract.errors import KitError

_FOLDER = ".pulumi/locks"


@dataclass(frozen=True)
class Lock:
    """A lock file: who changes a stack, since when."""

    path: Path
    pid: int
    host: str
    since: float

    @property
    def here(self) -> bool:
        """Whether it was taken on this host."""
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether the process that took it still runs: the same one, not a later one with its number."""
        if not self.here:
            return True
        try:
            process = psutil.Process(self.pid)
            return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= self.since + 2
        except psutil.NoSuchProcess:
            return False


def locks_of(state: Path, stack: str, project: str) -> list[Lock]:
    """The locks on a stack; those that can't be read (half-written) are left out."""
    found = []
    for path in sorted((state / _FOLDER).rglob("*.json")):
        if path.parent.name != stack.rpartition("/")[2] or path.parent.parent.name not in (project, "locks"):
            continue
        try:
            data = json.loads(path.read_text())
            since = datetime.fromisoformat(data["timestamp"]).timestamp()
            found.append(Lock(path, int(data["pid"]), str(data["hostname"]), since))
        except (OSError, ValueError, KeyError):
            continue
    return found


def take_over(state: Path, stack: str, project: str, say: Callable[[str], None], wait_s: float = 600) -> bool:
    """Make a stack free: remove the locks of the dead, wait for the living of this host.

    Returns:
        Whether a dead process' lock was removed, so that its update was cut off.

    Raises:
        KitError: another host holds it, or a process of this one keeps it for longer than `wait_s` seconds.
    """
    cut_off = False
    deadline = time.monotonic() + wait_s
    told = False
    while locks := locks_of(state, stack, project):
        lock = locks[0]
        if not lock.alive:
            say(f"taking over the lock of process {lock.pid}, which died in the middle of an update")
            lock.path.unlink(missing_ok=True)
            cut_off = True
            continue
        if not lock.here or time.monotonic() > deadline:
            raise KitError(
                f"stack {stack} is being changed by process {lock.pid} on {lock.host}",
                where=str(lock.path),
                fix="wait for it; if it is gone for sure, `pulumi cancel` frees the stack",
            )
        if not told:
            say(f"process {lock.pid} is changing stack {stack}; waiting for its end (Ctrl-C to give up)")
            told = True
        time.sleep(0.2)
    return cut_off
