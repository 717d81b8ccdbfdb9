"""A small object store: the operations on a folder, S3 and blobs that the kit's store needs
(cli/store/remote_objects.py).
"""

import errno
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import psutil

from llmops_kit.core import object_keys
from llmops_kit.core.documents.dataset import FileEntry
from llmops_kit.core.errors import IntegrityError, KitError
from llmops_kit.core.integrity.digest import check_folder, list_files
from llmops_kit.core.integrity.fresh_folder import folder_below

Say = Callable[[str], None]
"""Called with progress, one line at a time."""
_INCOMING = ".incoming"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MOST_DOCUMENT_BYTES = 16 << 20
"""Maximum size of an object that is read whole: a manifest, an alias, a log entry, an answer."""


class Objects(Protocol):
    """Objects by key, with slashes. A key is written once: only `put` overwrites, and nothing deletes.

    A key that could be a path outside (core/object_keys.py) is refused with an IntegrityError, before
    anything is written.
    """

    url: str

    def list(self, prefix: str) -> list[str]:
        """Returns the keys of the objects below a prefix that ends in a slash, sorted."""
        ...

    def names(self, prefix: str) -> Iterable[str]:
        """Returns all keys below a prefix unchecked, whoever wrote them: for display, not for use as paths."""
        ...

    def get(self, key: str) -> bytes:
        """Returns an object's content.

        Raises:
            KitError: it does not exist.
        """
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Writes an object unless it exists (a conditional create); returns whether this call wrote it."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Writes an object, replacing an existing one: signatures of a version change, its files never."""
        ...

    def put_folder(self, key: str, folder: Path, extra: Mapping[str, bytes]) -> bool:
        """Writes a folder's files, and `extra` ones over them, all or nothing; returns False if the key exists."""
        ...

    def get_folder(self, key: str) -> Path:
        """Returns a folder on this machine with the files below a key, which the caller must not modify."""
        ...

    def verify(self, key: str, files: Mapping[str, FileEntry], say: Say) -> None:
        """Checks that the files below a key are what a manifest lists, without fetching them if possible.

        Raises:
            IntegrityError: naming the first file that is missing or differs.
        """
        ...

    def address(self, key: str) -> str:
        """Returns a folder's address for other programs: a path of this machine, or a URL."""
        ...


def open_objects(url: str) -> Objects:
    """Returns the objects below a file:// URL.

    Raises:
        KitError: the kit does not support this kind of URL.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FolderObjects(Path(unquote(parts.path)))
    raise KitError(f"stores of kind {parts.scheme}:// are not supported yet", where=url, fix="use target `local`")


class FolderObjects:
    """Objects in a folder of this machine. Written to a temporary path, synced, then renamed: a reader sees all or
    nothing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = root.as_uri()

    def list(self, prefix: str) -> list[str]:
        """Returns the keys below a prefix."""
        folder = self.root / object_keys.check(prefix.removesuffix("/"), self.url)
        if not folder.is_dir():
            return []
        return sorted(prefix.rstrip("/") + "/" + name for name in list_files(folder))

    def names(self, prefix: str) -> Iterable[str]:
        """Returns all keys below a prefix unchecked, whoever wrote them."""
        folder = self.root / object_keys.check(prefix.removesuffix("/"), self.url)
        return (
            prefix + p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir() or p.is_symlink()
        )

    def get(self, key: str) -> bytes:
        """Returns an object's content, without following a link.

        Raises:
            KitError: it is not in the store.
        """
        *parts, name = object_keys.check(key, self.url).split("/")
        try:
            with folder_below(self.root, parts, make=False) as parent:
                opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
                with os.fdopen(opened, "rb") as file:
                    content = file.read(MOST_DOCUMENT_BYTES + 1)
        except OSError as e:
            raise KitError(f"can't be read: {e.strerror}", where=str(self.root / key)) from e
        return require_document(content, str(self.root / key))

    def create(self, key: str, data: bytes) -> bool:
        """Writes an object unless there is one."""
        *parts, name = object_keys.check(key, self.url).split("/")
        with self._incoming() as folder:
            temporary = folder / "object"
            _write_synced(temporary, data)
            with folder_below(self.root, parts) as parent:
                try:  # atomic, with the whole content, and refused when the key is there
                    os.link(temporary, name, dst_dir_fd=parent)
                except FileExistsError:
                    return False
                os.fsync(parent)
            return True

    def put(self, key: str, data: bytes) -> None:
        """Writes an object; a reader sees the old one or the new one."""
        *parts, name = object_keys.check(key, self.url).split("/")
        with self._incoming() as folder:
            temporary = folder / "object"
            _write_synced(temporary, data)
            with folder_below(self.root, parts) as parent:
                os.rename(temporary, name, dst_dir_fd=parent)
                os.fsync(parent)

    def put_folder(self, key: str, folder: Path, extra: Mapping[str, bytes]) -> bool:
        """Writes a folder, all or nothing."""
        *parts, last = object_keys.check(key, self.url).split("/")
        object_keys.check_all(extra, self.url)
        if (self.root / key).exists():
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
            with folder_below(self.root, parts) as parent:
                try:
                    os.rename(copy, last, dst_dir_fd=parent)
                except OSError as e:
                    if e.errno in (errno.ENOTEMPTY, errno.EEXIST):
                        return False  # another writer was first, with the same content: keys are content hashes
                    raise
                os.fsync(parent)
            return True

    def get_folder(self, key: str) -> Path:
        """Returns the path of a folder of the store: files of this machine are used in place.

        Raises:
            KitError: it is not in the store.
        """
        folder = self.root / object_keys.check(key, self.url)
        if not folder.is_dir():
            raise KitError("is not in the store", where=str(folder), fix="`llmops models list` shows what is there")
        return folder

    def verify(self, key: str, files: Mapping[str, FileEntry], say: Say) -> None:
        """Checks the files by hashing them; no others may exist there."""
        del say
        check_folder(self.get_folder(key), files)

    def address(self, key: str) -> str:
        return str(self.root / object_keys.check(key, self.url))

    @contextmanager
    def _incoming(self) -> Iterator[Path]:
        """Yields a temporary folder inside the store, and removes it afterwards in any case."""
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
    """Removes temporary folders left by killed writers of this host."""
    for leftover in base.glob(f"{socket.gethostname()}-*-*"):
        pid = leftover.name.rsplit("-", 2)[1]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(leftover, ignore_errors=True)


def require_document(content: bytes, where: str) -> bytes:
    """Returns the content of an object that is a document.

    Raises:
        IntegrityError: it is larger than any document.
    """
    if len(content) <= MOST_DOCUMENT_BYTES:
        return content
    raise IntegrityError(
        f"is larger than {MOST_DOCUMENT_BYTES >> 20} MiB",
        where=where,
        fix="the kit writes no such document: find out who wrote it, and remove it",
    )


@contextmanager
def full_disk_explained(place: Path) -> Iterator[None]:
    """Turns a full disk in the block into a KitError."""
    try:
        yield
    except OSError as e:
        if e.errno not in _FULL:
            raise
        raise _explain(e, place) from e


def _explain(error: OSError, root: Path) -> KitError:
    full = error.errno in _FULL
    what = "the disk is full; nothing was stored" if full else f"can't be written: {error.strerror}"
    fix = "free some space, then repeat the command: it resumes" if full else "see the folder's permissions"
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
