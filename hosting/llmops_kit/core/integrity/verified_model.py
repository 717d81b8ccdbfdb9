"""A model version whose files are opened once and read by the verified handles, even if the folder changes.

A file is read by the handle with which it was verified, so paths that change later have no effect, but writes to the
file itself do. If anybody but this user and root can write to a file, it is copied to an unnamed file while
it is hashed, and the copy is read. Files that only this user or root can write to, or on a read-only mount (as on
SageMaker and Docker), are not copied, to save the disk space and time of a model's size: these two users could change
this program as well. `require_unchanged` detects accidental changes of such files.
"""

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from llmops_kit.core.documents.dataset import FileEntry
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.integrity.digest import FETCH_AGAIN, check_names
from llmops_kit.core.integrity.signing import verify_manifest

_BLOCK = 1 << 20


class Early(NamedTuple):
    """Files that are verified before a version's others, so that they can be used meanwhile."""

    names: Sequence[str]
    verified: Callable[[Mapping[str, int]], None]
    """Called with their file descriptors by name, before the other files are read."""


@dataclass
class VerifiedVersion:
    """A version's files by name, open for reading; the handles are closed by `close`."""

    folder: Path
    manifest: ModelManifest
    sha256: str
    handles: Mapping[str, int]
    """File descriptors. Don't rely on their positions: read with os.pread, or open /proc/self/fd/N."""
    _states: Mapping[str, tuple[int, ...]] = field(repr=False)

    @classmethod
    def open(
        cls,
        folder: Path,
        public_key: str,
        expected_sha256: str = "",
        report: Callable[[int, int], None] | None = None,
        early: Callable[[ModelManifest], "Early"] | None = None,
    ) -> "VerifiedVersion":
        """Check signature, identity and every file.

        Args:
            folder: the model version.
            public_key: PEM, from the stack.
            expected_sha256: the identity that was promoted; empty: any that the key signed.
            report: called after each file with the verified and the total number of bytes.
            early: returns, once the manifest is verified, the files to verify before the others.

        Raises:
            SignatureError: unsigned, or signed by another key.
            IntegrityError: another version than expected, or a file that is not what the manifest says.
        """
        manifest, sha256 = verify_manifest(folder, public_key, expected_sha256)
        check_names(folder, manifest.files)
        first = early(manifest) if early else Early((), lambda _: None)
        files = _Opened(folder, manifest.files, report)
        try:
            files.open()
            files.verify(first.names)
            first.verified({name: files.handles[name] for name in first.names})
            files.verify([name for name in manifest.files if name not in first.names])
        except BaseException:
            _close(files.handles.values())
            raise
        return cls(folder, manifest, sha256, files.handles, files.states)

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None: the version has no such file."""
        if (handle := self.handles.get(name)) is None:
            return None
        with open(handle, "rb", closefd=False) as file:
            file.seek(0)
            return file.read()

    def require_unchanged(self) -> None:
        """Check, once everything is loaded, that no file was written to since it was verified.

        Raises:
            IntegrityError: naming the file.
        """
        for name, handle in self.handles.items():
            if _state(handle) != self._states[name]:
                raise IntegrityError(
                    "was changed while it was loaded",
                    where=str(self.folder / name),
                    fix="restart the server, and find the process that writes to the folder",
                )

    def close(self) -> None:
        """Close the handles. Can be repeated."""
        _close(self.handles.values())
        self.handles = {}


class _Opened:
    """A version's files, opened all at once and verified in groups."""

    def __init__(
        self, folder: Path, entries: Mapping[str, FileEntry], report: Callable[[int, int], None] | None
    ) -> None:
        self.handles: dict[str, int] = {}
        self.states: dict[str, tuple[int, ...]] = {}
        self._folder = folder
        self._entries = entries
        self._report = report
        self._done = 0

    def open(self) -> None:
        for name, entry in self._entries.items():
            self.handles[name] = _open(self._folder / name, entry)
            self.states[name] = _state(self.handles[name])

    def verify(self, names: Sequence[str]) -> None:
        """Verify files' hashes, in parallel; a file that others could write to is a copy from then on."""
        total = sum(entry.size for entry in self._entries.values())
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = {pool.submit(_verify, self._folder / n, self.handles[n], self._entries[n]): n for n in names}
            for job in as_completed(jobs):
                self._done += self._entries[jobs[job]].size
                if self._report:
                    self._report(self._done, total)
        for job, name in jobs.items():
            if not job.exception() and (copy := job.result()) != self.handles[name]:
                os.close(self.handles[name])
                self.handles[name], self.states[name] = copy, _state(copy)
        for job in jobs:
            job.result()


def _open(path: Path, entry: FileEntry) -> int:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        raise IntegrityError(f"can't be opened: {e.strerror}", where=str(path), fix=FETCH_AGAIN) from None
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode) and status.st_size == entry.size:
        return handle
    os.close(handle)
    if not stat.S_ISREG(status.st_mode):
        raise IntegrityError("is not a regular file", where=str(path), fix="a version can have only regular files")
    raise IntegrityError(
        f"has {status.st_size} bytes, the manifest says {entry.size}", where=str(path), fix=FETCH_AGAIN
    )


def _state(handle: int) -> tuple[int, ...]:
    """Returns a file's size and modification time, which change with each write; ctime changes with its names too."""
    status = os.fstat(handle)
    return status.st_size, status.st_mtime_ns


def _verify(path: Path, handle: int, entry: FileEntry) -> int:
    """Verify a file's hash; returns the handle to read it by: of a copy, if others could write to the file."""
    copy = _unnamed_file(path, entry.size) if _is_exposed(handle) else None
    try:
        with open(handle, "rb", closefd=False) as file:
            file.seek(0)
            found = (
                _copy_hashed(file.fileno(), copy)
                if copy is not None
                else hashlib.file_digest(file, "sha256").hexdigest()
            )
        if found != entry.sha256:
            raise IntegrityError(
                "was changed: its sha256 differs from the manifest's", where=str(path), fix=FETCH_AGAIN
            )
    except BaseException:
        if copy is not None:
            os.close(copy)
        raise
    return handle if copy is None else copy


def _is_exposed(handle: int) -> bool:
    """Return whether anyone but this user and root may write to the file: its owner, its group, or others.

    Rights of an access control list count as the group's in its mode (acl(5)).
    """
    status = os.fstat(handle)
    if os.fstatvfs(handle).f_flag & os.ST_RDONLY:
        return False
    return status.st_uid not in (0, os.geteuid()) or bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _unnamed_file(path: Path, size: int) -> int:
    """Create an unnamed file of this size, which disappears with its last handle."""
    folder = tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if size:
                os.posix_fallocate(file.fileno(), 0, size)
            return os.dup(file.fileno())
    except OSError as e:
        raise IntegrityError(
            f"can be written to by others, and can't be copied to {folder} ({size} bytes): {e.strerror}",
            where=str(path),
            fix="let only its user write to it (chmod go-w), or free space there (TMPDIR)",
        ) from None


def _copy_hashed(source: int, target: int) -> str:
    digest, offset = hashlib.sha256(), 0
    while block := os.pread(source, _BLOCK, offset):
        digest.update(block)
        written = 0
        while written < len(block):
            written += os.pwrite(target, block[written:], offset + written)
        offset += len(block)
    return digest.hexdigest()


def _close(handles: Iterable[int]) -> None:
    for handle in handles:
        os.close(handle)
