"""Zip files give regular files to their folder, or nothing."""

import io
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.integrity.archives import ArchiveLimits
from llmops_kit.core.integrity.zips import extract_zip
from tests.support.hostile import everything

DEFLATED = zipfile.ZIP_DEFLATED


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder to extract into, beside which there is something precious."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("mine")
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def pack(path: Path, members: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", DEFLATED) as opened:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type, info.external_attr = DEFLATED, mode << 16
            opened.writestr(info, content)
    return path


def refused(archive: Path, limits: ArchiveLimits = ArchiveLimits()) -> None:  # noqa: B008
    before = everything(archive.parent.parent)
    with pytest.raises(IntegrityError):
        extract_zip(archive, archive.parent / "out", limits)
    assert everything(archive.parent.parent) == before


def test_wanted_files_are_extracted(place: Path) -> None:
    archive = pack(place / "a.zip", {"a/": b"", "a/1.po": b"one", "a/größe 2.po": b"w" * 3_000_000, "setup.py": b"x"})
    extract_zip(archive, place / "out", wanted=lambda name: name.endswith(".po"))
    assert everything(place / "out") == {"a": None, "a/1.po": b"one", "a/größe 2.po": b"w" * 3_000_000}


@pytest.mark.parametrize("name", ["../outside/precious", "/etc/passwd", "a/../../x", "a\\b", "C:x", "a//b", "a\nb"])
def test_names_that_lead_out_are_refused(place: Path, name: str) -> None:
    refused(pack(place / "a.zip", {"good": b"1", name: b"2"}))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(place: Path, kind: int) -> None:
    refused(pack(place / "a.zip", {"link": b"/etc/passwd"}, mode=kind | 0o777))


def test_a_name_twice_is_refused(place: Path) -> None:
    archive = pack(place / "a.zip", {"a": b"1", "b": b"2"})
    archive.write_bytes(archive.read_bytes().replace(b"b", b"a"))
    refused(archive)


def test_bombs_are_refused(place: Path) -> None:
    zeros = pack(place / "a.zip", {"zeros": bytes(64 << 20)})
    assert zeros.stat().st_size < 100_000
    refused(zeros)
    refused(pack(place / "b.zip", {str(i): b"" for i in range(11)}), ArchiveLimits(members=10))
    refused(pack(place / "c.zip", {str(i): bytes(range(256)) * 40 for i in range(9)}), ArchiveLimits(total=80_000))


def test_members_that_overlap_end_at_the_total(place: Path) -> None:
    """Each member's content is the next one with its header: https://www.bamsoftware.com/hacks/zipbomb/"""
    body, directory = bytes(100_000), []
    for number in range(300):
        name = f"{number:03}".encode()
        fields = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, zlib.crc32(body), len(body), len(body), 3, 0)
        directory.append((fields, name, len(body)))
        body = b"PK\x03\x04" + fields + name + body
    entries = b"".join(
        b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, len(body) - size - 33) + name
        for fields, name, size in directory
    )
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 300, 300, len(entries), len(body), 0)
    (place / "a.zip").write_bytes(body + entries + end)
    with zipfile.ZipFile(place / "a.zip") as opened:
        assert sum(each.file_size for each in opened.infolist()) > 100 * len(body)
    refused(place / "a.zip")


@pytest.mark.parametrize("stated", [1, 1 << 40])
def test_a_size_that_is_a_lie_is_refused(place: Path, stated: int) -> None:
    archive = pack(place / "a.zip", {"a": b"content " * 100})
    content = bytearray(archive.read_bytes())
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = struct.pack("<I", stated & 0xFFFFFFFE)
    archive.write_bytes(content)
    refused(archive)


def test_damage_and_encryption_are_refused(place: Path) -> None:
    archive = pack(place / "a.zip", {"a": bytes(range(256)) * 100})
    whole = archive.read_bytes()
    for size in range(0, len(whole), 37):
        archive.write_bytes(whole[:size])
        refused(archive)
    flipped = bytearray(whole)
    flipped[60] ^= 0xFF
    archive.write_bytes(flipped)
    refused(archive)
    with zipfile.ZipFile(io.BytesIO(whole)) as opened:
        offset = opened.start_dir
    encrypted = bytearray(whole)
    encrypted[offset + 8] |= 1
    archive.write_bytes(encrypted)
    refused(archive)
