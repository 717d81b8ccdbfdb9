"""Take over the lock of an update whose process on this host is dead: Pulumi's backends in folders and buckets."""

import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import psutil

from contract.errors import KitError

FOLDER = ".pulumi/locks"
"""Below a backend's folder or bucket."""


@dataclass(frozen=True)
class Lock:
    """A lock file: who changes a stack, since when."""

    place: str
    remove: Callable[[], object]
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
    for path in sorted((state / FOLDER).rglob("*.json")):
        if is_of(path.relative_to(state).as_posix(), stack, project):
            with suppress(OSError, ValueError, KeyError):
                found.append(parse(path.read_text(), str(path), partial(path.unlink, missing_ok=True)))
    return found


def is_of(key: str, stack: str, project: str) -> bool:
    """Does a lock file's path belong to a stack? …/locks/organization/<project>/<stack>/<id>.json"""
    *_, above, name, _file = ("", "", *key.split("/"))
    return name == stack.rpartition("/")[2] and above in (project, "locks")


def parse(text: str, place: str, remove: Callable[[], object]) -> Lock:
    """A lock file's content; ValueError or KeyError where it is none."""
    data = json.loads(text)
    since = datetime.fromisoformat(data["timestamp"]).timestamp()
    return Lock(place, remove, int(data["pid"]), str(data["hostname"]), since)


def take_over(find: Callable[[], list[Lock]], stack: str, say: Callable[[str], None], wait_s: float = 600) -> bool:
    """Make a stack free: remove the locks of the dead, wait for the living of this host.

    Args:
        find: looks for the stack's locks.
        stack: its name.
        say: told what is done and waited for.
        wait_s: seconds to wait; 0: a living process is refused at once.

    Returns:
        Whether a dead process' lock was removed, so that its update was cut off.

    Raises:
        KitError: another host holds it, or a process of this one keeps it for longer than `wait_s` seconds.
    """
    cut_off = False
    deadline = time.monotonic() + wait_s
    told = False
    while locks := find():
        lock = locks[0]
        if not lock.alive:
            say(f"taking over the lock of process {lock.pid}, which died in the middle of an update")
            lock.remove()
            cut_off = True
            continue
        if not lock.here or time.monotonic() >= deadline:
            raise KitError(
                f"stack {stack} is being changed by process {lock.pid} on {lock.host}",
                where=lock.place,
                fix="wait for it; if it is gone for sure, `pulumi cancel` frees the stack",
            )
        if not told:
            say(f"process {lock.pid} is changing stack {stack}; waiting for its end (Ctrl-C to give up)")
            told = True
        time.sleep(0.2)
    return cut_off
