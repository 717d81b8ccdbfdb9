"""Locks of Pulumi's backends in folders and buckets: who changes a stack, and whether that may be taken over."""

import json
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from llmops_kit.cli.stacks.lock_records import LockRecords, is_shared, may_run, sees_all_processes
from llmops_kit.contract.errors import KitError

FOLDER = ".pulumi/locks"
"""Below a backend's folder or bucket."""

MAX_BYTES = 64 << 10
"""Pulumi's own locks have some 150 bytes."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SKEW_SECONDS = 2
_OLDEST = datetime(2017, 1, 1, tzinfo=UTC).timestamp()  # before Pulumi's first release
_DAY_SECONDS = 24 * 60 * 60


@dataclass(frozen=True)
class Lock:
    """A lock file: who changes a stack, since when."""

    id: str
    place: str
    remove: Callable[[], object]
    pid: int
    user: str
    host: str
    since: float
    folder: Path | None = None
    """The backend's folder on this machine; None: a bucket, which others share."""

    @property
    def here(self) -> bool:
        """Whether it says this host's name. It proves nothing."""
        return self.host == socket.gethostname()

    def ended(self, records: LockRecords) -> bool | None:
        """Whether the process that took it is gone; None: that can't be told from this machine.

        A record of the kit's own proves it. Without one, for an engine that was not started by the kit, the host name,
        number and start time are taken for an answer in a folder of this machine alone, where all of its processes are
        seen; on a backend that others share they are none.
        """
        if record := records.find(self.id):
            return record.ended(records.folder)
        if not self.here or self.folder is None or not sees_all_processes() or is_shared(self.folder):
            return None
        return self.since < psutil.boot_time() - _SKEW_SECONDS or not may_run(self.pid, self.since + _SKEW_SECONDS)


def locks_of(state: Path, stack: str, project: str) -> list[Lock]:
    """The locks on a stack whose backend is a folder.

    Raises:
        KitError: a file that is no lock of Pulumi's.
    """
    found = []
    for path in sorted((state / FOLDER).rglob("*.json")):
        if is_of(path.relative_to(state).as_posix(), stack, project):
            try:
                with path.open("rb") as file:
                    content = file.read(MAX_BYTES + 1)
            except FileNotFoundError:
                continue  # given back meanwhile
            except OSError as error:
                raise _no_lock(str(path), error.strerror or str(error)) from error
            found.append(parse(content, str(path), partial(path.unlink, missing_ok=True), state))
    return found


def is_of(key: str, stack: str, project: str) -> bool:
    """Does a lock file's path belong to a stack? …/locks/organization/<project>/<stack>/<id>.json"""
    *_, above, name, _file = ("", "", *key.split("/"))
    return name == stack.rpartition("/")[2] and above in (project, "locks")


def parse(content: bytes, place: str, remove: Callable[[], object], folder: Path | None = None) -> Lock:
    """A lock file.

    Args:
        content: its bytes, at most one more than MAX_BYTES.
        place: its path or URL, which ends with its id.
        remove: deletes it.
        folder: of the backend; None: a bucket.

    Raises:
        KitError: it is none of Pulumi's.
    """
    try:
        if len(content) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        data = json.loads(content)
        if not isinstance(data, dict):
            raise ValueError("it is no JSON object")
        id_ = place.rpartition("/")[2].removesuffix(".json")
        if not _ID.fullmatch(id_):
            raise ValueError("its name is no lock's id")
        user, host = _name(data, "username"), _name(data, "hostname")
        return Lock(id_, place, remove, _pid(data), user, host, _timestamp(data), folder)
    except (ValueError, RecursionError) as error:
        reason = str(error) if type(error) is ValueError else "it is no JSON"
        raise _no_lock(place, reason) from None


def _no_lock(place: str, reason: str) -> KitError:
    return KitError(
        f"this is no lock of Pulumi's: {reason}",
        where=_printable(place),
        fix="find out who wrote it, and that nobody is changing the stack; then `pulumi cancel` removes its locks",
    )


def _printable(place: str) -> str:
    """A place whose last part anybody may have named who may write there."""
    return place if place.isprintable() else ascii(place)[1:-1]


def _name(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    if not (isinstance(value, str) and len(value) <= 255 and value.isprintable()):
        raise ValueError(f"`{key}` is no name")
    return value


def _pid(data: dict[str, Any]) -> int:
    value = data.get("pid")
    if type(value) is not int or not 0 < value < 1 << 31:
        raise ValueError("`pid` is no number of a process")
    return value


def _timestamp(data: dict[str, Any]) -> float:
    value = data.get("timestamp")
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("`timestamp` is no date") from None
    if moment.tzinfo is None or not _OLDEST <= moment.timestamp() <= time.time() + _DAY_SECONDS:
        raise ValueError("`timestamp` is no time of an update")
    return moment.timestamp()


def take_over(
    find: Callable[[], list[Lock]], records: LockRecords, stack: str, say: Callable[[str], None], wait_s: float = 600
) -> bool:
    """Make a stack free: remove the locks of processes that are proven to be gone, wait for those that still run here.

    Args:
        find: looks for the stack's locks.
        records: proofs of this machine.
        stack: its name.
        say: told what is done and waited for.
        wait_s: seconds to wait; 0: a process that still runs is refused at once.

    Returns:
        Whether an ended process' lock was removed, so that its update was cut off.

    Raises:
        KitError: who holds it can't be seen from here, or keeps it for longer than `wait_s` seconds; or a file is no
            lock.
    """
    cut_off = False
    deadline = time.monotonic() + wait_s
    told = False
    while locks := find():
        lock = locks[0]
        ended = lock.ended(records)
        if ended:
            say(f"taking over the lock of process {lock.pid}, which died in the middle of an update")
            lock.remove()
            cut_off = True
            continue
        if ended is None or time.monotonic() >= deadline:
            raise _held(lock, stack, ended)
        if not told:
            say(f"process {lock.pid} is changing stack {stack}; waiting for its end (Ctrl-C to give up)")
            told = True
        time.sleep(0.2)
    records.prune()
    return cut_off


def _held(lock: Lock, stack: str, ended: bool | None) -> KitError:
    since = datetime.fromtimestamp(lock.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    unknown = "; whether it still runs can't be proven from here" if ended is None else ""
    return KitError(
        f"stack {stack} is being changed by process {lock.pid} of {lock.user} on {lock.host} since {since}{unknown}",
        where=_printable(lock.place),
        fix="wait for it; if you have made sure that it is gone, `pulumi cancel` frees the stack",
    )
