"""Archives as sources: extracts their files, treating them as hostile input."""

from collections.abc import Callable
from pathlib import Path

from llmops_kit.cli.data.globs import choose, matcher
from llmops_kit.cli.data.items import FetchLimits
from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.integrity.archives import ArchiveLimits, extract
from llmops_kit.core.integrity.digest import list_files
from llmops_kit.core.integrity.zips import extract_zip
from llmops_kit.data_pipeline.readers.formats import format_of
from llmops_kit.data_pipeline.readers.reader import DataFile
from llmops_kit.data_pipeline.readers.texts import pieces


def unpack(archive: Path, name: str, target: Path, files: str, limits: FetchLimits) -> dict[str, Path]:
    """Extracts files from an archive.

    Args:
        archive: its content.
        name: its name, whose extension determines the format; for errors too.
        target: a folder that must not exist.
        files: glob of the members; empty: those of a known format.
        limits: of the archive and of its members.

    Returns:
        Member -> file.

    Raises:
        IntegrityError: it is damaged, or contains a link, a path that leads out, or more than the limits allow.
        DataError: no member is selected, or a selected one has an unknown format.
    """
    matches = matcher(files) if files else lambda member: bool(format_of(member))
    allowed = ArchiveLimits(members=limits.files, total=limits.file)
    try:
        if name.lower().endswith(".zip"):
            extract_zip(archive, target, allowed, matches)
        else:
            _extract_tar(archive, name, target, allowed, matches)
    except IntegrityError as e:
        raise IntegrityError(e.what, where=name, fix=e.fix) from None
    found = list_files(target)
    if files and any(not format_of(member) for member in found):
        return {member: found[member] for member in choose(found, files, name, archives=False)}
    if not found:
        choose((), files, name)
    return found


def _extract_tar(archive: Path, name: str, target: Path, allowed: ArchiveLimits, wanted: Callable[[str], bool]) -> None:
    if not name.lower().endswith(".zst"):
        extract(archive, target, allowed, wanted)
        return
    plain = archive.with_name(f"{archive.name}.tar")
    try:
        with plain.open("wb") as file:
            for piece in pieces(DataFile(archive, name)):
                file.write(piece)
                if file.tell() > allowed.total:
                    raise IntegrityError("is too large when unpacked", fix="unpack it yourself")
        extract(plain, target, allowed, wanted)
    finally:
        plain.unlink(missing_ok=True)
