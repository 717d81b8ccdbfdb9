"""A file that a cloud's client downloads into, limited to the size in its manifest."""

import hashlib
import io

from llmops_kit.core.documents.dataset import FileEntry
from llmops_kit.core.errors import IntegrityError

FETCH_ANEW = "import or collect the version again, or promote another one"


class Bounded(io.RawIOBase):
    """Receives pieces in any order, with `seek` between them."""

    def __init__(self, file: io.BufferedRandom, entry: FileEntry, where: str) -> None:
        """Wraps a file.

        Args:
            file: new and empty, open for writing and reading; the caller closes it.
            entry: the expected content.
            where: the object, for errors.
        """
        self._file, self._entry, self._where = file, entry, where

    def write(self, data) -> int:  # type: ignore[override]  # of any object with a buffer
        """Writes a piece.

        Raises:
            IntegrityError: it exceeds the size in the manifest.
        """
        if self._file.tell() + len(data) > self._entry.size:
            what = f"has more bytes than the {self._entry.size} that the manifest says"
            raise IntegrityError(what, where=self._where, fix=FETCH_ANEW)
        return self._file.write(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to the position of the next piece."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Returns the position of the next piece."""
        return self._file.tell()

    def seekable(self) -> bool:
        """Returns True: several pieces may be fetched at once."""
        return True

    def writable(self) -> bool:
        """Returns True."""
        return True

    def check(self) -> None:
        """Compares the written content with the manifest.

        Raises:
            IntegrityError: its size or hash differs.
        """
        size = self._file.seek(0, io.SEEK_END)
        if size != self._entry.size:
            what = f"has {size} bytes, the manifest says {self._entry.size}"
            raise IntegrityError(what, where=self._where, fix=FETCH_ANEW)
        self._file.seek(0)
        if hashlib.file_digest(self._file, "sha256").hexdigest() != self._entry.sha256:
            what = "was changed: its sha256 differs from the manifest's"
            raise IntegrityError(what, where=self._where, fix=FETCH_ANEW)
