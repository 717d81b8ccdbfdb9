"""Log lines: plain text for what the server does, one JSON object for each request. Never a prompt, never a key."""

import json
import sys
from datetime import UTC, datetime
from typing import Any, TextIO


def say(message: str) -> None:
    """Write one line about the server itself to standard error."""
    _write(sys.stderr, f"{_now()} serving: {message}")


def log_request(fields: dict[str, Any]) -> None:
    """Write one request as JSON to standard output."""
    _write(sys.stdout, json.dumps({"time": _now(), **fields}))


def _write(stream: TextIO, line: str) -> None:
    stream.write(line + "\n")  # in one piece: unbuffered, print writes the end of a line by itself
    stream.flush()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
