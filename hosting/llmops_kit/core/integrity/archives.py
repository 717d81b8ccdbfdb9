"""Untrusted archives: tar files, plain or gzipped, of regular files and folders.

tarfile reads headers, block by block, and nothing else: its extraction filter "data" can be left (CVE-2025-4517), its
reader hangs on negative sizes (CVE-2025-8194) and on long pax headers (CVE-2024-6232), and Python 3.11.7 has all three.
"""

import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from llmops_kit.core import object_keys
from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.integrity.fresh_folder import FreshFolder
from llmops_kit.core.object_keys import shown

_BLOCK = tarfile.BLOCKSIZE
_PACKED_PIECE, _PIECE = 64 << 10, 1 << 20
SMALL = 16 << 20
"""Bytes up to which any ratio is allowed: repetitive text and zeros compress a thousandfold."""
_LONGEST_EXTRAS = 16 << 20  # of all long names and pax headers together
_LONGEST_NUMBER = 18  # digits
_GZIP, _GZIP_WINDOW = b"\x1f\x8b", 31
_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.GNUTYPE_LONGLINK: "a link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits of an archive's contents.

    Attributes:
        members: headers in it, and files and folders that it creates.
        total: bytes unpacked, headers included.
        ratio: unpacked bytes for each packed byte, beyond 16 MiB.
    """

    members: int = 10_000
    total: int = 256 << 30
    ratio: int = 100


def take_all(_name: str) -> bool:
    """Accepts every member."""
    return True


def extract(
    archive: Path, target: Path, limits: ArchiveLimits = ArchiveLimits(), wanted: Callable[[str], bool] = take_all
) -> None:
    """Unpack the wanted files of an archive into a folder that must not exist: all of them or nothing.

    Owners and times are not restored; of the modes, only the executable bit.

    Raises:
        IntegrityError: it is damaged, or holds anything but regular files and folders, a name that leaves the folder or
            is there twice, or more than the limits allow.
    """
    work = Path(tempfile.mkdtemp(prefix=".extracting-", dir=target.parent))
    try:
        with archive.open("rb") as file:
            _Extraction(file, str(archive), FreshFolder(work, limits.members), limits, wanted).run()
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


class _Extraction:
    """Extraction of one archive, in one pass."""

    def __init__(
        self, file: BinaryIO, where: str, fresh: FreshFolder, limits: ArchiveLimits, wanted: Callable[[str], bool]
    ) -> None:
        self._where, self._fresh, self._limits, self._wanted = where, fresh, limits, wanted
        size = os.fstat(file.fileno()).st_size
        self._left = min(limits.total, max(SMALL, size * limits.ratio))
        self._extras_left = _LONGEST_EXTRAS
        packed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        self._source = self._inflated(file) if packed else iter(lambda: file.read(_PIECE), b"")
        self._piece = memoryview(b"")

    def run(self) -> None:
        """Write every member."""
        extra: dict[str, bytes] = {}  # attributes of the next member from a long name or pax header
        members = 0
        while header := self._header():
            members += 1
            if members > self._limits.members:
                self._refuse(f"has more than {self._limits.members} members")
            if header.type == tarfile.GNUTYPE_LONGNAME:
                extra["path"] = self._extra(header).rstrip(b"\0")
            elif header.type == tarfile.XHDTYPE:
                extra |= self._pax(self._extra(header))
            elif header.type == tarfile.XGLTYPE:  # of git: a comment
                self._pax(self._extra(header))
            else:
                self._member(header, extra)
                extra = {}
        while self._next_piece():  # to the end, where gzip's checksum is
            pass

    def _member(self, header: tarfile.TarInfo, extra: dict[str, bytes]) -> None:
        name = extra["path"].decode(errors="surrogateescape") if "path" in extra else header.name
        while name.startswith("./"):
            name = name[2:]
        if header.type in _KINDS or any(key.startswith("GNU.sparse") for key in extra):
            kind = _KINDS.get(header.type, _KINDS[tarfile.GNUTYPE_SPARSE])
            self._refuse(f"holds {kind}, not only files and folders", name)
        if header.type == tarfile.DIRTYPE or (header.isreg() and name.endswith("/")):
            if (name := name.rstrip("/")) and name != ".":
                self._fresh.make_folder(name, self._where)
        elif header.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            self._file(name, self._number(extra["size"]) if "size" in extra else header.size, header.mode)
        else:
            self._refuse(f"holds a member of the unknown kind {header.type!r}", name)

    def _file(self, name: str, size: int, mode: int) -> None:
        if not 0 <= size <= self._left:
            self._refuse("is too large when unpacked" if size > 0 else "has a negative size", name)
        if self._wanted(object_keys.check(name, self._where)):
            with self._fresh.create(name, self._where, 0o755 if mode & 0o111 else 0o644) as file:
                for piece in self._bytes(size):
                    file.write(piece)
        else:
            for _ in self._bytes(size):
                pass
        self._skip_padding(size)

    def _header(self) -> tarfile.TarInfo | None:
        """Returns the next header; None at the block of zeros that ends an archive."""
        block = self._whole(_BLOCK)
        if not block.strip(b"\0"):
            return None
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as e:
            self._refuse(f"is damaged, or not a tar file: {e}")

    def _extra(self, header: tarfile.TarInfo) -> bytes:
        if not 0 <= header.size <= self._extras_left:
            self._refuse("has headers that are too long")
        self._extras_left -= header.size
        content = self._whole(header.size)
        self._skip_padding(header.size)
        return content

    def _pax(self, content: bytes) -> dict[str, bytes]:
        """Parses records `<length> <key>=<value>\\n`:
        https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html
        """
        found: dict[str, bytes] = {}
        at = 0
        while at < len(content):
            space = content.find(b" ", at, at + _LONGEST_NUMBER)
            end = at + self._number(content[at : max(at, space)])
            key, equals, value = content[space + 1 : end - 1].partition(b"=")
            if not space < end <= len(content) or not equals or content[end - 1 : end] != b"\n":
                self._refuse("has a damaged pax header")
            found[key.decode(errors="replace")] = value
            at = end
        return found

    def _number(self, text: bytes) -> int:
        if not text.isdigit() or len(text) > _LONGEST_NUMBER:
            self._refuse("has a header with an invalid number")
        return int(text)

    def _whole(self, size: int) -> bytes:
        return b"".join(self._bytes(size))

    def _skip_padding(self, size: int) -> None:
        for _ in self._bytes(-size % _BLOCK):
            pass

    def _bytes(self, size: int) -> Iterator[memoryview]:
        """Yield the given number of bytes of the archive, in pieces."""
        while size:
            if not self._piece and not self._next_piece():
                self._refuse("ends in the middle: it is damaged")
            piece, self._piece = self._piece[:size], self._piece[size:]
            size -= len(piece)
            yield piece

    def _next_piece(self) -> bool:
        self._piece = memoryview(next(self._source, b""))
        self._left -= len(self._piece)
        if self._left < 0:
            self._refuse("is too large when unpacked")
        return bool(self._piece)

    def _inflated(self, file: BinaryIO) -> Iterator[bytes]:
        inflater = zlib.decompressobj(_GZIP_WINDOW)
        while not inflater.eof:
            packed = inflater.unconsumed_tail or file.read(_PACKED_PIECE)
            try:
                piece = inflater.decompress(packed, _PIECE)
            except zlib.error as e:
                self._refuse(f"is damaged: {e}")
            if piece:
                yield piece
            elif not packed and not inflater.eof:
                self._refuse("ends in the middle: it is damaged")

    def _refuse(self, what: str, name: str = "") -> NoReturn:
        raise IntegrityError(
            f"{what}: {shown(name)}" if name else what,
            where=self._where,
            fix="nothing was kept; pack it again with regular files only, or use an archive that you trust",
        )
