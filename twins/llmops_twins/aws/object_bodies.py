"""The bodies of S3's objects, as files of the twin's folder."""

import tempfile
from pathlib import Path
from typing import IO

BODIES = "objects"
"""The folder of S3's bodies in a twin's home; files whose names begin with a dot are incomplete or left over."""


class ObjectBody:
    """The content of an S3 object, or of a part, in a file. It becomes a spooled file when written to."""

    def __init__(self, path: Path) -> None:
        self.path: Path | None = path
        self._file: IO[bytes] | None = None

    def seek(self, position: int, whence: int = 0) -> int:
        return self._opened().seek(position, whence)

    def tell(self) -> int:
        return self._opened().tell()

    def read(self, size: int = -1) -> bytes:
        return self._opened().read(size)

    def truncate(self, size: int | None = None) -> int:
        self.close()
        self.path = None
        self._file = tempfile.SpooledTemporaryFile(16_777_216)  # noqa: SIM115
        return self._file.truncate(size)

    def write(self, data: bytes) -> int:
        return self._opened().write(data)

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            assert self.path is not None
            self._file = self.path.open("rb")
        return self._file
