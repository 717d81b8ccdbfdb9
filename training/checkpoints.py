"""Checkpoints that are whole or not there: temporary folder, fsync, list of hashes written last, rename."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field

from contract.dataset import FileEntry
from contract.digest import check_folder, file_entries, sha256_file
from contract.documents import Part
from contract.errors import IntegrityError

MARKER = "complete.json"


class Marker(Part):
    """The last file of a checkpoint: what it holds, and what its writer wants to know later."""

    files: dict[str, FileEntry]
    notes: dict[str, Any] = Field(default={})


def publish(folder: Path, target: Path, notes: dict[str, Any] | None = None) -> None:
    """Make a folder that was just written a complete checkpoint, under its final name.

    Args:
        folder: on the same file system as `target`; it is moved.
        target: replaced if it exists.
        notes: JSON values kept in the marker.
    """
    for path in folder.rglob("*"):
        _fsync(path)
    marker = Marker(files=file_entries(folder, leave_out=[MARKER]), notes=notes or {})
    write_synced(folder / MARKER, marker.model_dump_json(indent=2))
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(target)
    _fsync(target.parent)


def notes_of(folder: Path) -> dict[str, Any] | None:
    """The notes of a complete checkpoint; None when it is incomplete or damaged."""
    try:
        marker = Marker.model_validate_json((folder / MARKER).read_bytes())
        check_folder(folder, marker.files | {MARKER: _entry(folder / MARKER)})
    except (OSError, ValueError, IntegrityError):
        return None
    return marker.notes


def newest(folder: Path) -> Path | None:
    """The complete checkpoint with the highest step; damaged ones are passed over."""
    for path in reversed(_in_order(folder)):
        if notes_of(path) is not None:
            return path
    return None


def keep(folder: Path, count: int) -> None:
    """Delete all checkpoints but the newest `count`."""
    for path in _in_order(folder)[:-count]:
        shutil.rmtree(path)


def once(path: Path, make: Callable[[], Any]) -> Any:
    """The JSON value in a file; made and written, whole, if it is not there.

    A stage that was finished before an interruption is so skipped.
    """
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # not there, or restored by half
        value = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_synced(path, json.dumps(value, indent=2))
    return value


def write_synced(path: Path, text: str) -> None:
    """Write a file so that after a crash it is there with all its content, or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    _fsync(temporary)
    temporary.replace(path)
    _fsync(path.parent)


def _in_order(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.partition("-")[2]))


def _entry(path: Path) -> FileEntry:
    return FileEntry(sha256=sha256_file(path), size=path.stat().st_size)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
