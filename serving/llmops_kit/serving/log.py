"""Log lines: plain text about the server, a JSON object for each request and event. Never a prompt or a key."""

import json
import sys
from datetime import UTC, datetime
from typing import Any, TextIO


def say(message: str) -> None:
    """Writes one line about the server itself to standard error."""
    _write(sys.stderr, f"{_now()} serving: {message}")


def log_json(fields: dict[str, Any]) -> None:
    """Writes a request or an event as one line of JSON to standard output, where metric filters read it."""
    _write(sys.stdout, json.dumps({"time": _now(), **fields}))


def _write(stream: TextIO, line: str) -> None:
    stream.write(line + "\n")  # in one write: unbuffered, print would write the newline separately
    stream.flush()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
