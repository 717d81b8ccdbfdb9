"""Locks of Pulumi's backends in folders and buckets: who changes a stack."""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmops_kit.core.errors import KitError

FOLDER = ".pulumi/locks"
"""Folder of the locks, relative to a backend's folder or bucket."""

MAX_BYTES = 64 << 10
"""Maximum size of a lock file. Those that Pulumi writes have about 150 bytes."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OLDEST = datetime(2017, 1, 1, tzinfo=UTC).timestamp()  # before Pulumi's first release
_DAY_SECONDS = 24 * 60 * 60


@dataclass(frozen=True)
class Lock:
    """The update that a lock file belongs to: its process, and its start in seconds since 1970."""

    place: str
    pid: int
    user: str
    host: str
    since: float


def locks_of(state: Path, stack: str, project: str) -> list[Lock]:
    """Returns the locks on a stack whose backend is a folder.

    Raises:
        KitError: a file can't be read, or Pulumi did not write it.
    """
    found = []
    for path in sorted((state / FOLDER).rglob("*.json")):
        if is_of(path.relative_to(state).as_posix(), stack, project):
            try:
                with path.open("rb") as file:
                    content = file.read(MAX_BYTES + 1)
            except FileNotFoundError:
                continue  # released since the listing
            except OSError as error:
                raise _no_lock(str(path), error.strerror or str(error)) from error
            found.append(parse(content, str(path)))
    return found


def is_of(key: str, stack: str, project: str) -> bool:
    """Returns whether a path, …/locks/organization/<project>/<stack>/<id>.json, is that of a lock on a stack."""
    *_, above, name, _file = ("", "", *key.split("/"))
    return name == stack.rpartition("/")[2] and above in (project, "locks")


def parse(content: bytes, place: str) -> Lock:
    """Returns the lock in a file's content.

    Args:
        content: its bytes, at most one more than MAX_BYTES.
        place: its path or URL, which ends with its id.

    Raises:
        KitError: Pulumi did not write it.
    """
    try:
        if len(content) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        data = json.loads(content)
        if not isinstance(data, dict):
            raise ValueError("it is not a JSON object")
        id_ = place.rpartition("/")[2].removesuffix(".json")
        if not _ID.fullmatch(id_):
            raise ValueError("its name is not a lock's id")
        user, host = _name(data, "username"), _name(data, "hostname")
        return Lock(place, _pid(data), user, host, _timestamp(data))
    except (ValueError, RecursionError) as error:
        reason = str(error) if type(error) is ValueError else "it is not JSON"
        raise _no_lock(place, reason) from None


def _no_lock(place: str, reason: str) -> KitError:
    return KitError(
        f"this is not a lock of Pulumi's: {reason}",
        where=_printable(place),
        fix="find out who wrote it, and that nobody is changing the stack; then `pulumi cancel` removes its locks",
    )


def _printable(place: str) -> str:
    """Returns a path without control characters: anyone who may write to the backend chooses its last part."""
    return place if place.isprintable() else ascii(place)[1:-1]


def _name(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    if not (isinstance(value, str) and len(value) <= 255 and value.isprintable()):
        raise ValueError(f"`{key}` is not a name")
    return value


def _pid(data: dict[str, Any]) -> int:
    value = data.get("pid")
    if type(value) is not int or not 0 < value < 1 << 31:
        raise ValueError("`pid` is not a process id")
    return value


def _timestamp(data: dict[str, Any]) -> float:
    value = data.get("timestamp")
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("`timestamp` is not a date") from None
    if moment.tzinfo is None or not _OLDEST <= moment.timestamp() <= time.time() + _DAY_SECONDS:
        raise ValueError("`timestamp` is before Pulumi's first release, in the future, or without a time zone")
    return moment.timestamp()


def require_free(locks: Sequence[Lock], stack: str) -> None:
    """Raises KitError, which names the user and the process, if there is a lock on the stack.

    It does not check whether the process still runs: other machines and containers may share the backend, the host name
    and the process id.
    """
    if not locks:
        return
    lock = locks[0]
    since = datetime.fromtimestamp(lock.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    raise KitError(
        f"stack {stack} is being changed by process {lock.pid} of {lock.user} on {lock.host} since {since}",
        where=_printable(lock.place),
        fix=f"wait for its end; if it was killed, `pulumi cancel --stack {stack}` frees the stack",
    )
