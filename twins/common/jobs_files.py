"""Files that a job writes, carried to the cloud's storage while it runs and when it ends."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path


class Carrier:
    """Carries what is new in one folder. `put(file, path)` stores a file under its path in the folder; `gone(path)`
    removes one that was stored and is there no more, for a folder that stands for a mounted one.
    """

    def __init__(
        self, folder: Path, put: Callable[[Path, str], None], gone: Callable[[str], None] | None = None
    ) -> None:
        self.folder = folder
        self._put = put
        self._gone = gone
        self._seen: dict[Path, tuple[int, int]] = {}
        self._kept: dict[Path, tuple[int, int]] = {}

    def carry(self, *, last: bool = False) -> None:
        """Carry files that have not changed since the last time it was asked for, unless it is the last time. The
        oldest go first, so that what names others comes after them.
        """
        found = {file: state for file in files(self.folder) if (state := state_of(file))}
        for file, state in sorted(found.items(), key=lambda item: item[1]):
            settled = last or self._seen.get(file) == state
            if settled and self._kept.get(file) != state:
                with suppress(FileNotFoundError):  # moved or removed meanwhile
                    self._put(file, file.relative_to(self.folder).as_posix())
                    self._kept[file] = state
        self._seen.update(found)
        if self._gone:
            for file in [file for file in self._kept if file not in found]:
                self._gone(file.relative_to(self.folder).as_posix())
                del self._kept[file]

    def know(self) -> None:
        """Take what is in the folder now for what is stored."""
        self._kept |= {file: state for file in files(self.folder) if (state := state_of(file))}


def files(folder: Path) -> Iterator[Path]:
    """Regular files below a folder; of links, those that stay in it: a link says what it likes."""
    top = folder.resolve()
    for base, _, names in os.walk(folder):
        for name in names:
            file = Path(base, name)
            if file.is_file() and file.resolve().is_relative_to(top):
                yield file


def state_of(file: Path) -> tuple[int, int] | None:
    """When it was written last, and its size; None when it is gone."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
