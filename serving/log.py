"""Log lines: plain text for what the server does, one JSON object for each request. Never a prompt, never a key."""

import json
import sys
from datetime import UTC, datetime
from typing import Any


def say(message: str) -> None:
    """Write one line about the server itself to standard error."""
    print(f"{_now()} serving: {message}", file=sys.stderr, flush=True)


def log_request(fields: dict[str, Any]) -> None:
    """Write one request as JSON to standard output."""
    print(json.dumps({"time": _now(), **fields}, ensure_ascii=True), flush=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
