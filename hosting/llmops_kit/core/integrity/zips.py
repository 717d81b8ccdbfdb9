"""Untrusted zip files: only regular files, written through directory handles, within limits.

zipfile lists and inflates members, but its `extract` is not used: names, kinds and sizes are checked here, and sizes
are counted in inflated bytes, not read from the archive. Members that overlap (Fifield's bombs) end at the total.
"""

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.integrity.archives import SMALL, ArchiveLimits, take_all
from llmops_kit.core.integrity.fresh_folder import FreshFolder
from llmops_kit.core.object_keys import shown

_LIMITS = ArchiveLimits()
_PIECE = 1 << 20
_ENCRYPTED = 0x1
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError, RuntimeError)


def extract_zip(
    archive: Path, target: Path, limits: ArchiveLimits = _LIMITS, wanted: Callable[[str], bool] = take_all
) -> None:
    """Unpack the wanted files of a zip file into a folder that must not exist: all of them or nothing.

    Raises:
        IntegrityError: it is damaged or encrypted, holds a link or special file, a name that leaves the folder or is
            there twice, or more than the limits allow.
    """
    work = Path(tempfile.mkdtemp(prefix=".extracting-", dir=target.parent))
    try:
        _Unzipping(archive, FreshFolder(work, limits.members), limits).run(wanted)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


class _Unzipping:
    """One zip file."""

    def __init__(self, archive: Path, fresh: FreshFolder, limits: ArchiveLimits) -> None:
        self._archive, self._fresh, self._limits = archive, fresh, limits
        self._left = min(limits.total, max(SMALL, archive.stat().st_size * limits.ratio))

    def run(self, wanted: Callable[[str], bool]) -> None:
        """Write every wanted member."""
        try:
            opened = zipfile.ZipFile(self._archive)
        except _DAMAGED as e:
            self._refuse(f"is damaged, or not a zip file: {e}")
        with opened:
            members = opened.infolist()
            if len(members) > self._limits.members:
                self._refuse(f"has more than {self._limits.members} members")
            for member in members:
                self._check(member)
                if not member.is_dir() and wanted(member.filename):
                    self._write(opened, member)

    def _check(self, member: zipfile.ZipInfo) -> None:
        kind = stat.S_IFMT(member.external_attr >> 16)  # 0: created on a system without file modes
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            self._refuse("holds a link or special file, not only files and folders", member.filename)
        if member.flag_bits & _ENCRYPTED:
            self._refuse("is encrypted", member.filename)
        if member.orig_filename != member.filename:  # zipfile cuts a name at NUL
            self._refuse("holds a name with a NUL", member.filename)

    def _write(self, opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        with self._fresh.create(member.filename, str(self._archive)) as file:
            for piece in self._pieces(opened, member):
                self._left -= len(piece)
                if self._left < 0:
                    self._refuse("is too large when unpacked", member.filename)
                file.write(piece)

    def _pieces(self, opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
        try:
            with opened.open(member) as inner:
                while piece := inner.read(_PIECE):
                    yield piece
        except _DAMAGED as e:
            self._refuse(f"is damaged: {e}", member.filename)

    def _refuse(self, what: str, name: str = "") -> NoReturn:
        raise IntegrityError(
            f"{what}: {shown(name)}" if name else what,
            where=str(self._archive),
            fix="nothing was kept; pack it again with regular files only, or use an archive that you trust",
        )
