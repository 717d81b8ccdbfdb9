"""A small object store: what the kit's store needs of a folder, of S3 and of blobs (llmops/remote_objects.py)."""

import errno
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import psutil

from contract.digest import list_files
from contract.errors import KitError

_INCOMING = ".incoming"


class Objects(Protocol):
    """Objects by key, with slashes. A key is written once: nothing here overwrites or deletes."""

    url: str

    def list(self, prefix: str) -> list[str]:
        """Keys of the objects below a prefix that ends in a slash, sorted."""
        ...

    def get(self, key: str) -> bytes:
        """An object's content; KitError where there is none."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one (a conditional create): whether this call wrote it."""
        ...

    def put_folder(self, key: str, folder: Path, extra: Mapping[str, bytes]) -> bool:
        """Write a folder's files, and `extra` ones over them, all or nothing; False when the key is there."""
        ...

    def get_folder(self, key: str) -> Path:
        """A folder on this machine with the files below a key; the caller only reads it."""
        ...


def open_objects(url: str) -> Objects:
    """The objects behind a URL.

    Raises:
        KitError: the kit can't reach such a place.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FolderObjects(Path(unquote(parts.path)))
    raise KitError(f"stores of kind {parts.scheme}:// are not supported yet", where=url, fix="use target `local`")


class FolderObjects:
    """Objects in a folder of this machine. Written beside, synced, then renamed: a reader sees all or nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = root.as_uri()

    def list(self, prefix: str) -> list[str]:
        """Keys below a prefix."""
        folder = self.root / prefix
        if not folder.is_dir():
            return []
        return sorted(prefix.rstrip("/") + "/" + name for name in list_files(folder))

    def get(self, key: str) -> bytes:
        """An object's content."""
        try:
            return (self.root / key).read_bytes()
        except OSError as e:
            raise KitError(f"can't be read: {e.strerror}", where=str(self.root / key)) from e

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one."""
        target = self.root / key
        with self._incoming() as folder:
            temporary = folder / "object"
            _write_synced(temporary, data)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.hardlink_to(temporary)  # atomic, with the whole content, and refused when the key is there
            except FileExistsError:
                return False
            _sync_folder(target.parent)
            return True

    def put_folder(self, key: str, folder: Path, extra: Mapping[str, bytes]) -> bool:
        """Write a folder, all or nothing."""
        target = self.root / key
        if target.exists():
            return False
        with self._incoming() as incoming:
            copy = incoming / "folder"
            copy.mkdir()
            for name, path in list_files(folder).items():
                if name not in extra:
                    (copy / name).parent.mkdir(parents=True, exist_ok=True)
                    _copy_synced(path, copy / name)
            for name, data in extra.items():
                _write_synced(copy / name, data)
            for base, _, _ in os.walk(copy):
                _sync_folder(Path(base))
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                copy.rename(target)
            except OSError as e:
                if e.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return False  # another writer was first, with the same content: keys are content hashes
                raise
            _sync_folder(target.parent)
            return True

    def get_folder(self, key: str) -> Path:
        """The folder itself."""
        folder = self.root / key
        if not folder.is_dir():
            raise KitError("is not in the store", where=str(folder), fix="`llmops models list` shows what is there")
        return folder

    @contextmanager
    def _incoming(self) -> Iterator[Path]:
        """A temporary folder inside of the store; gone afterwards, whatever happens."""
        if not (self.root / "store.json").is_file():
            raise KitError("is not a store", where=str(self.root), fix="`llmops up` makes the stack's store")
        base = self.root / _INCOMING
        folder = base / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        try:
            folder.mkdir(parents=True)
            yield folder
        except OSError as e:
            raise _explain(e, self.root) from e
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _sweep(base)


def _sweep(base: Path) -> None:
    """Remove what writers of this host left that were killed."""
    for leftover in base.glob(f"{socket.gethostname()}-*-*"):
        pid = leftover.name.rsplit("-", 2)[1]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(leftover, ignore_errors=True)


def _explain(error: OSError, root: Path) -> KitError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    what = "the disk is full; nothing was stored" if full else f"can't be written: {error.strerror}"
    fix = "free some space, then repeat the command: it goes on from here" if full else "see the folder's permissions"
    return KitError(what, where=str(root), fix=fix)


def _copy_synced(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as f:
        os.fsync(f.fileno())
    target.chmod(0o444)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    path.chmod(0o444)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
