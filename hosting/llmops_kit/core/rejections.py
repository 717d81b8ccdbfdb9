"""Logs in a store, and the log that rejects a model version whose rollout was rolled back.

The caller passes the store as functions: `count` counts the entries below a log's key, `create` writes an object unless
it exists and returns whether it did, `read` returns an object's content or None.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from llmops_kit.core.layout import rejection_log

NOT_TO_BLAME = "is not marked rejected: no alarm went off, and its container failed no health check"
"""Message for a version whose rollout a cloud rolled back for another reason."""
Count = Callable[[str], int]
Create = Callable[[str, bytes], bool]
Read = Callable[[str], bytes | None]
Entry = dict[str, str]


def append(log: str, entry: Entry, count: Count, create: Create) -> None:
    """Add an entry to a log. Of two writers at the same time, the second takes the next number."""
    body = (json.dumps(entry, indent=2) + "\n").encode()
    number = count(log) + 1
    while not create(_key(log, number), body):
        number += 1


def reject(sha256: str, why: str, endpoint: str, count: Count, create: Create, instead: str = "") -> None:
    """Mark a version as rejected.

    Args:
        sha256: the version's identity.
        why: the reason.
        endpoint: whose rollout was rolled back.
        count: of the store.
        create: of the store.
        instead: the line of the stack file that restores the old version.
    """
    entry = {"action": "rejected", "why": why, "when": now(), "endpoint": endpoint}
    append(rejection_log(sha256), entry | ({"instead": instead} if instead else {}), count, create)


def clear(sha256: str, why: str, count: Count, create: Create) -> None:
    """Let a rejected version be promoted again; the log keeps what happened."""
    append(rejection_log(sha256), {"action": "cleared", "why": why, "when": now()}, count, create)


def rejection(sha256: str, read: Read) -> Entry | None:
    """Returns the entry that rejects a version; None if it is not rejected, or was cleared."""
    last, number = Entry(), 1
    while (found := read(_key(rejection_log(sha256), number))) is not None:
        last, number = json.loads(found), number + 1
    return last if last.get("action") == "rejected" else None


def now() -> str:
    """Returns the current time in UTC as ISO 8601, in seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _key(log: str, number: int) -> str:
    return f"{log}/{number:06d}.json"
