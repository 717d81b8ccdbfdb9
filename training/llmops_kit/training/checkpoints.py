"""Checkpoints that are complete or ignored: files are copied to their destination, a sealed list of hashes last.

The destination is not an ordinary disk on any cloud. A mounted blob container renames by copying and deleting file by
file, which a kill can interrupt anywhere, and bills each write
(https://learn.microsoft.com/azure/storage/blobs/blobfuse2-compare-linux-file-system, "Non-atomic renames"). SageMaker
copies /opt/ml/checkpoints to S3 file by file, in no documented order
(https://docs.aws.amazon.com/sagemaker/latest/dg/model-checkpoints.html). So checkpoints are made on the machine's own
disk, nothing is renamed at the destination, and a checkpoint counts only if all files match its list, in whichever
order they arrived.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field

from llmops_kit.core.document import Part, parse_json
from llmops_kit.core.documents.dataset import FileEntry
from llmops_kit.core.errors import DocumentError, IntegrityError, KitError
from llmops_kit.core.hashes import sha256_bytes, sha256_file
from llmops_kit.core.integrity.digest import check_folder, file_entries
from llmops_kit.core.object_keys import Key

MARKER = "complete.json"
_PREFIX = "checkpoint-"
_LARGEST_SEALED = 64 << 20  # bytes
_FIX = "nothing of it is used: the run resumes from an older checkpoint, or starts over"


class Marker(Part):
    """The last file of a checkpoint: its name, its files, and its writer's notes."""

    name: str = Field(description="Name of the checkpoint's folder.")
    files: dict[Key, FileEntry]
    notes: dict[str, Any] = Field(default={})


def publish(folder: Path, target: Path, notes: dict[str, Any] | None = None) -> None:
    """Copies a folder that was just written to its final name as a complete checkpoint.

    Args:
        folder: on any disk; it is left in place.
        target: replaced if it exists.
        notes: JSON values stored in the marker.
    """
    marker = Marker(name=target.name, files=file_entries(folder, leave_out=[MARKER]), notes=notes or {})
    _remove(target)
    for name in marker.files:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, path)
        _fsync(path)
    _write_synced(target / MARKER, sealed(marker.model_dump(mode="json")))


def notes_of(folder: Path) -> dict[str, Any] | None:
    """Returns the notes of a complete checkpoint; None when it is incomplete or damaged."""
    try:
        return checked(folder).notes
    except (OSError, KitError):
        return None


def checked(folder: Path) -> Marker:
    """Returns a checkpoint's marker, after checking every byte of the checkpoint against it.

    Raises:
        OSError: there is no marker: the checkpoint is incomplete.
        IntegrityError: a file was changed, added or removed, or the checkpoint was renamed; or an older kit wrote it,
            whose markers are not sealed.
    """
    path = folder / MARKER
    try:
        marker = Marker.model_validate(unsealed(path))
    except ValueError as e:
        raise IntegrityError("is not a checkpoint's marker", where=str(path), fix=_FIX) from e
    if marker.name != folder.name:
        raise IntegrityError(f"was written as {marker.name}", where=str(folder), fix=_FIX)
    check_folder(folder, marker.files | {MARKER: FileEntry(sha256=sha256_file(path), size=path.stat().st_size)})
    return marker


def newest(folder: Path) -> Path | None:
    """Returns the complete checkpoint with the highest step; skips damaged ones, printing the reason."""
    return next(_complete(folder, checked), None)


def restored(folder: Path, local: Path) -> Path | None:
    """Copies the newest complete checkpoint below `local`, where no other process can change it, and returns the copy;
    None without one.
    """
    found = next(_complete(folder, lambda path: fetched(path, local)), None)
    return found and local / found.name


def fetched(path: Path, local: Path) -> Path:
    """Copies one complete checkpoint below `local`, and returns the copy.

    Raises:
        OSError, IntegrityError: as for `checked`, of the checkpoint or of the copy.
    """
    checked(path)
    copy = local / path.name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path, copy)
    checked(copy)
    return copy


def keep(folder: Path, count: int) -> None:
    """Deletes all checkpoints but the newest `count`."""
    for path in _in_order(folder)[:-count]:
        _remove(path)


def once(path: Path, make: Callable[[], Any]) -> Any:
    """Returns the JSON value in a sealed file; if the file is missing or damaged, makes the value and writes it.

    So a stage that was finished before an interruption is skipped.
    """
    try:
        return unsealed(path)
    except (FileNotFoundError, IntegrityError):  # missing, partly restored, or changed
        value = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_synced(path, sealed(value))
    return value


def sealed(content: Any) -> str:
    """Returns JSON with the SHA-256 of its content, so that any changed byte is detected."""
    digest = sha256_bytes(json.dumps(content).encode())
    return json.dumps({"sha256": digest, "content": content}, indent=2) + "\n"


def unsealed(path: Path) -> Any:
    """Returns the content of a sealed file.

    Raises:
        OSError: the file does not exist.
        IntegrityError: the file was changed.
    """
    if path.exists() and not path.is_file():
        raise IntegrityError("is not a regular file", where=str(path), fix=_FIX)
    with path.open("rb") as file:
        data = file.read(_LARGEST_SEALED)
    try:
        document = parse_json(data, str(path))
        if isinstance(document, dict) and sealed(document["content"]).encode() == data:
            return document["content"]
    except (DocumentError, ValueError, KeyError, RecursionError):
        pass
    raise IntegrityError("was changed: its sha256 does not match its content", where=str(path), fix=_FIX)


def _complete(folder: Path, check: Callable[[Path], object]) -> Iterator[Path]:
    """Yields the checkpoints that pass, newest first."""
    for path in reversed(_in_order(folder)):
        try:
            check(path)
        except (OSError, KitError) as e:
            print(f"checkpoint skipped: {str(e).partition(chr(10))[0]}", flush=True)
        else:
            yield path


def _remove(path: Path) -> None:
    """Deletes a checkpoint, its marker first, so that an interrupted deletion leaves no checkpoint."""
    with suppress(OSError):  # missing; or a folder of that name, which is deleted with the rest
        (path / MARKER).unlink()
    if path.exists():
        shutil.rmtree(path)


def _in_order(folder: Path) -> list[Path]:
    found = [p for p in folder.glob(f"{_PREFIX}*") if not p.is_symlink() and p.is_dir() and _step(p).isdecimal()]
    return sorted(found, key=lambda p: int(_step(p)))


def _step(path: Path) -> str:
    step = path.name.removeprefix(_PREFIX)
    return step if step.isascii() and len(step) < 18 else ""


def _write_synced(path: Path, text: str) -> None:
    """Writes a sealed file in place: its seal distinguishes a truncated file from a complete one."""
    path.write_text(text)
    _fsync(path)
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    """Waits until a file is stored, if that is supported: some mounts store a file when it is closed, and refuse
    fsync.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as e:
        if e.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
