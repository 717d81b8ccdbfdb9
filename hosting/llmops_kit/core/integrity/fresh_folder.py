"""Folders filled under untrusted names, through directory handles: links are not followed and files not overwritten, so
that nothing is written outside (openat(2), O_NOFOLLOW, O_EXCL).
"""

import errno
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from llmops_kit.core import object_keys
from llmops_kit.core.errors import IntegrityError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_FOLDER = (errno.ENOTDIR, errno.ELOOP)
MOST_ENTRIES = 100_000


class FreshFolder:
    """A new folder that only this object fills. Thread-safe.

    Args:
        path: an empty folder.
        most: maximum number of files and folders.
    """

    def __init__(self, path: Path, most: int = MOST_ENTRIES) -> None:
        self.path = path
        self._left = most

    def create(self, key: str, where: str, mode: int = 0o644) -> io.BufferedRandom:
        """Open a new file for writing and reading; creates its folders.

        Args:
            key: its path below this folder.
            where: the place that the key comes from, for errors.
            mode: its permissions, before the umask.

        Raises:
            IntegrityError: the key can't be a path, exists, is below a file, or exceeds the maximum number.
        """
        *parts, name = object_keys.check(key, where).split("/")
        with self._below(parts, key, where) as folder:
            self._count(key, where)
            return os.fdopen(os.open(name, _NEW, mode, dir_fd=folder), "w+b")

    def make_folder(self, key: str, where: str) -> None:
        """Create a folder, unless it exists.

        Raises:
            IntegrityError: as `create`.
        """
        with self._below(object_keys.check(key, where).split("/"), key, where):
            return

    def link(self, key: str, file: Path, where: str) -> None:
        """Hard-link a file of the same file system here; a symbolic link is linked itself, not followed.

        Raises:
            IntegrityError: as `create`.
        """
        *parts, name = object_keys.check(key, where).split("/")
        with self._below(parts, key, where) as folder:
            self._count(key, where)
            os.link(file, name, dst_dir_fd=folder, follow_symlinks=False)

    @contextmanager
    def _below(self, parts: Sequence[str], key: str, where: str) -> Iterator[int]:
        """Yields the handle of a subfolder, which is created if missing; errors inside the block name `key`."""
        try:
            with folder_below(self.path, parts, made=lambda: self._count(key, where)) as folder:
                yield folder
        except FileExistsError:
            raise _refused(key, "is there twice, as a file or a folder", where) from None
        except OSError as e:
            if e.errno not in _NO_FOLDER:
                raise
            raise _refused(key, "is below a file", where) from None

    def _count(self, key: str, where: str) -> None:
        self._left -= 1
        if self._left < 0:
            raise _refused(key, "exceeds the maximum number of files and folders", where)


@contextmanager
def folder_below(
    root: Path, parts: Sequence[str], *, make: bool = True, made: Callable[[], None] = lambda: None
) -> Iterator[int]:
    """Yields the handle of a folder below another, reached without following links.

    Args:
        root: the outermost folder, which may be a link.
        parts: names of the folders below it, one in the other.
        make: create missing folders.
        made: called before a folder is created.

    Raises:
        OSError: a part is not a folder, or is missing.
    """
    handle = os.open(root, _FOLDER)
    try:
        for part in parts:
            inner = _enter(handle, part, make, made)
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


def _enter(handle: int, part: str, make: bool, made: Callable[[], None]) -> int:
    try:
        return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=handle)
    except FileNotFoundError:
        if not make:
            raise
    made()
    with suppress(FileExistsError):  # another thread made it
        os.mkdir(part, dir_fd=handle)
    return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=handle)


def _refused(key: str, why: str, where: str) -> IntegrityError:
    return IntegrityError(
        f"{object_keys.shown(key)} {why}",
        where=where,
        fix="nothing was kept; fetch it from a source that you trust",
    )
