"""Shared by all kinds of sources: items that can be fetched, and the partial files that receive them."""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from llmops_kit.cli.store.remote_checks import in_words
from llmops_kit.core.documents.recipe_data import DataSource
from llmops_kit.core.errors import DataError, KitError


@dataclass(frozen=True)
class FetchLimits:
    """Limits of one source, so that none fills the disk.

    Attributes:
        file: bytes of one file, packed or unpacked.
        files: number of files of one source.
    """

    file: int = 64 << 30
    files: int = 100_000


class FetchStoppedError(Exception):
    """Raised when another item failed, or the user stopped the command."""


class Partial:
    """A file that is being fetched. It is kept when the process ends, and the next one resumes it.

    A file beside it records the revision of its content, written before the first byte; content of another revision is
    discarded.

    Args:
        path: the file's path.
        where: names the fetched item in errors.
        most: maximum number of bytes.
        stop: set when no more bytes may be written.
        told: called with the number of bytes of each piece.
    """

    def __init__(
        self, path: Path, where: str, most: int, stop: threading.Event, told: Callable[[int], None] = lambda _: None
    ) -> None:
        self.path, self._where, self._most, self._stop, self._told = path, where, most, stop, told
        self._note = path.with_name(f"{path.name}.revision")

    def resumable(self, revision: str) -> int:
        """Returns the number of bytes of a revision that were fetched already."""
        return self.path.stat().st_size if revision and self.revision == revision and self.path.exists() else 0

    @property
    def revision(self) -> str:
        """The revision of the fetched bytes; empty if there are none."""
        try:
            return str(json.loads(self._note.read_text())) if self.path.exists() else ""
        except (OSError, ValueError):
            return ""

    def fill(self, pieces: Iterable[bytes], revision: str, start: int = 0) -> None:
        """Writes pieces at an offset; discards what was there after it.

        Raises:
            DataError: they exceed the limit.
            FetchStoppedError: the command ends.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not start:
            self.path.unlink(missing_ok=True)
            self._note.write_text(json.dumps(revision))
        size = start
        with self.path.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            for piece in pieces:
                size += len(piece)
                self.check_size(size)
                file.write(piece)
                self.advance(len(piece))

    def advance(self, count: int) -> None:
        """Counts received bytes.

        Raises:
            FetchStoppedError: the command ends.
        """
        if self._stop.is_set():
            raise FetchStoppedError
        self._told(count)

    def check_size(self, size: int) -> None:
        """Checks that so many bytes are allowed.

        Raises:
            DataError: they are too many.
        """
        if size > self._most:
            what = f"has more than {in_words(self._most)}"
            raise DataError(what, where=self._where, fix="take a part of it, or allow more with --max-gb")

    def remove(self) -> None:
        """Removes the fetched bytes."""
        for path in (self.path, self._note):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Item:
    """A file at its source.

    Attributes:
        key: its path below the source's folder.
        url: its origin, without credentials.
        fetch: fetches it into a partial file, given the revision that was fetched before, and returns its revision. The
            same revision means that nothing changed and nothing was fetched.
        revision: if it is known before anything is fetched; otherwise empty.
    """

    key: str
    url: str
    fetch: Callable[[Partial, str], str]
    revision: str = ""


@dataclass(frozen=True)
class SourceContext:
    """The environment in which sources are looked up.

    Attributes:
        recipe_folder: paths are relative to it.
        work: a folder for a source's own use, removed when the collect ends.
        secret: returns a secret's value by its name.
        limits: of a fetch.
        say: called with a line for each step.
    """

    recipe_folder: Path
    work: Path
    secret: Callable[[str], str]
    limits: FetchLimits = field(default_factory=FetchLimits)
    say: Callable[[str], None] = lambda _: None

    def token(self, source: DataSource) -> str:
        """Returns the source's token; empty without one."""
        return self.secret(source.token.removeprefix("secret:")) if source.token else ""


def copier(path: Path) -> Callable[[Partial, str], str]:
    """Returns the `fetch` of a file of this machine."""

    def fetch(partial: Partial, _known: str) -> str:
        with path.open("rb") as file:
            revision = stat_revision(file)
            partial.check_size(os.fstat(file.fileno()).st_size)
            partial.fill(iter(lambda: file.read(1 << 20), b""), revision)
            if stat_revision(file) != revision:
                raise KitError("was changed while it was copied", where=str(path), fix="repeat the command")
        return revision

    return fetch


def stat_revision(file: BinaryIO | Path) -> str:
    """Returns size and modification time of a file of this machine, as its revision."""
    found = file.stat() if isinstance(file, Path) else os.fstat(file.fileno())
    return f"{found.st_size}-{found.st_mtime_ns}"


@contextlib.contextmanager
def stopping(stop: threading.Event):
    """Sets the event when an error or Ctrl-C ends the block."""
    try:
        yield
    except BaseException:
        stop.set()
        raise
