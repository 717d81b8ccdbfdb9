"""Records a cloud's requests and responses, anonymised: of this process, and of the commands that it starts.

Numbers, booleans and the cloud's own terms stay. Every other text is replaced by a pseudonym: a keyed hash, the same
for equal texts in a recording, which does not contain the key. Headers, with signatures and tokens, are not recorded.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

VARIABLE = "LLMOPS_RECORDING"
"""The folder that this process and its commands record into; unset: nothing is recorded."""
MASK = "~"
"""Prefix of pseudonyms."""
TIME, BYTES = "~time", "~bytes"
_EXCHANGES, _KEY = "exchanges.jsonl", "key"
_LONGEST = 3  # recorded items of a list: further ones have the same members
_HASH_LENGTH = 8


@dataclass(frozen=True)
class Recorder:
    """Appends exchanges to a folder; safe for concurrent processes."""

    folder: Path

    def add(self, call: str, request: Any, status: int, code: str, answer: Any) -> None:
        """Records an anonymised request with its response. `call`: the operation, without names of resources; `code`:
        of the error.
        """
        fields = {"call": call, "request": request, "status": status, "code": code, "answer": answer}
        self._append(fields)

    def begin(self, step: str) -> None:
        """Records that the following exchanges belong to a step."""
        self._append({"step": step})

    def mask(self, text: str) -> str:
        """Returns the pseudonym of a text."""
        digest = hmac.new(self._key, text.encode(errors="replace"), hashlib.sha256).hexdigest()
        return f"{MASK}{digest[:_HASH_LENGTH]}"

    def plain(self, value: Any) -> Any:
        """Returns a scalar value; texts are replaced by pseudonyms."""
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, datetime):
            return TIME
        if value is None or isinstance(value, bool | int | float):
            return value
        return BYTES

    @cached_property
    def _key(self) -> bytes:
        """The recording's key, which the first process creates; only its owner can read it."""
        path = self.folder / _KEY
        own = secrets.token_bytes(32)
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{_KEY}-{secrets.token_hex(4)}"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(own)
        with suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
        return path.read_bytes()

    def _append(self, fields: Mapping[str, Any]) -> None:
        line = json.dumps(fields, separators=(",", ":")) + "\n"
        self.folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(self.folder / _EXCHANGES, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            file.write(line.encode())


def recorder() -> Recorder | None:
    """Returns the recorder that this process's environment asks for; None if nothing is recorded."""
    folder = os.environ.get(VARIABLE)
    return Recorder(Path(folder)) if folder else None


def first(items: list[Any]) -> list[Any]:
    """Returns the first items of a list, as many as are recorded."""
    return items[:_LONGEST]


def recorded(folder: Path) -> list[dict[str, Any]]:
    """Returns the exchanges recorded in a folder, in order, each with its step; equal ones once, with their count."""
    path, step = folder / _EXCHANGES, ""
    found: dict[str, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            fields = json.loads(line)
        except ValueError:
            continue  # cut off by a kill
        if "call" not in fields:
            step = fields.get("step", "")
            continue
        kept = found.setdefault(f"{step} {line}", {"step": step, **fields, "times": 0})
        kept["times"] += 1
    return list(found.values())
