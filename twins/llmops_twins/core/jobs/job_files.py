"""Copies files that a job writes to the cloud's storage, while it runs and when it ends."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from llmops_kit.core.hashes import sha256_bytes


class Carrier:
    """Copies new files of one folder. `put(file, path)` stores a file under its path in the folder.

    With `gone(path)`, which removes a stored file that no longer exists, the folder behaves like a mount: files reach
    the storage as they are closed. Renames are not atomic there: each file is copied, then the old ones are deleted, so
    that a reclaimed machine leaves some of each
    (https://learn.microsoft.com/azure/storage/blobs/blobfuse2-compare-linux-file-system, "Non-atomic renames"). Without
    it, files are copied in no guaranteed order
    (https://docs.aws.amazon.com/sagemaker/latest/dg/model-checkpoints.html).
    """

    def __init__(
        self, folder: Path, put: Callable[[Path, str], None], gone: Callable[[str], None] | None = None
    ) -> None:
        self.folder = folder
        self._put = put
        self._gone = gone
        self._seen: dict[Path, tuple[int, int]] = {}
        self._kept: dict[Path, tuple[int, int]] = {}

    def carry(self, *, last: bool = False, cut: bool = False) -> None:
        """Copies new files that are unchanged since the last call, or all new ones if this is the last call.

        Args:
            last: no more files will be written.
            cut: the machine was reclaimed, in the middle of any renames.
        """
        found = {file: state for file in files(self.folder) if (state := state_of(file))}
        due = [f for f, state in found.items() if (last or self._seen.get(f) == state) and self._kept.get(f) != state]
        renamed = {file for file in due if self._gone and _is_renamed(file, self.folder)}
        for file in self._in_order(due, found, renamed, cut=cut):
            with suppress(FileNotFoundError):  # moved or removed meanwhile
                self._put(file, self._path(file))
                self._kept[file] = found[file]
        self._seen.update(found)
        if self._gone and not (cut and renamed):  # the old names of renamed files are deleted last
            for file in [file for file in self._kept if file not in found]:
                self._gone(self._path(file))
                del self._kept[file]

    def _in_order(
        self, due: list[Path], found: dict[Path, tuple[int, int]], renamed: set[Path], *, cut: bool
    ) -> list[Path]:
        if not self._gone:
            return sorted(due, key=lambda file: sha256_bytes(self._path(file).encode()))
        written = sorted((file for file in due if file not in renamed), key=lambda file: found[file])
        return written + sorted(renamed)[: len(renamed) // 2 if cut else None]

    def _path(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()

    def know(self) -> None:
        """Marks the present files of the folder as stored."""
        self._kept |= {file: state for file in files(self.folder) if (state := state_of(file))}


def files(folder: Path) -> Iterator[Path]:
    """Yields regular files below a folder, and links that stay inside it, because a job may point links anywhere."""
    top = folder.resolve()
    for base, _, names in os.walk(folder):
        for name in names:
            file = Path(base, name)
            if file.is_file() and file.resolve().is_relative_to(top):
                yield file


def _is_renamed(file: Path, top: Path) -> bool:
    """Returns whether a file, or a folder that it is in, was renamed since it was written: a rename changes only an
    inode's ctime. (So do chmod and utime, as by `cp -p`, which are separate calls on a mount too.)
    """
    path = file
    while path != top:
        with suppress(OSError):
            found = path.stat()
            if found.st_ctime_ns > found.st_mtime_ns:
                return True
        path = path.parent
    return False


def state_of(file: Path) -> tuple[int, int] | None:
    """Returns a file's modification time and size; None if it is gone."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
