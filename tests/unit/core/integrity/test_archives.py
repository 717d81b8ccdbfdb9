"""Archives extract regular files into their folder, or nothing."""

import gzip
import io
import random
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.integrity.archives import ArchiveLimits, extract
from tests.support.hostile import everything, hostile_keys

Member = tuple[tarfile.TarInfo, bytes]
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder to extract into, beside which there is something precious."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("mine")
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def member(name: str, content: bytes = b"", **fields: object) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def pack(path: Path, *members: Member, mode: Any = "w:gz", form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, mode, format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("form", FORMATS, ids=["ustar", "gnu", "pax"])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_files_and_folders_are_extracted(place: Path, mode: str, form: int) -> None:
    long = "/".join(["folder" * 8] * 4) + "/file"
    packed = pack(
        place / "a.tar",
        *(member("./", type=tarfile.DIRTYPE), member("./empty/", type=tarfile.DIRTYPE), member("empty/", b"")),
        *(member("./deep/w.bin", b"w" * 2_000_000), member("größe 2", b"1"), member(long, b"2")),
        *(member("run", b"#!", mode=0o755), member("locked", b"", mode=0)),
        mode=mode,
        form=form,
    )
    extract(packed, place / "out")
    files = {"deep/w.bin": b"w" * 2_000_000, "größe 2": b"1", long: b"2", "run": b"#!", "locked": b""}
    found = everything(place / "out")
    assert {name: content for name, content in found.items() if content is not None} == files
    assert found["empty"] is None
    assert (place / "out/run").stat().st_mode & 0o777 == 0o755
    assert (place / "out/locked").stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in place.iterdir()) == ["a.tar", "out"]


SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a", "GNU.sparse.realsize": "9"}
REFUSED: dict[str, tuple[list[Member], str]] = {
    "symbolic link": ([member("a", type=tarfile.SYMTYPE, linkname="../outside")], "a symbolic link, not only .*: 'a'"),
    "hard link": ([member("a", b"1"), member("b", type=tarfile.LNKTYPE, linkname="a")], "a hard link"),
    "long link": ([member("a", type=tarfile.SYMTYPE, linkname="x" * 300)], "a (symbolic )?link"),
    "character device": ([member("a", type=tarfile.CHRTYPE, devmajor=1, devminor=3)], "a character device"),
    "block device": ([member("a", type=tarfile.BLKTYPE, devmajor=8)], "a block device"),
    "named pipe": ([member("a", type=tarfile.FIFOTYPE)], "a named pipe"),
    "sparse file": ([member("a", b"1" * 512, pax_headers=SPARSE)], "a sparse file"),
    "unknown kind": ([member("a", type=b"Z")], "unknown kind b'Z'"),
    "absolute": ([member("/etc/cron.d/x", b"1")], "is absolute"),
    "parent": ([member("a/../../outside/precious", b"1")], r"a part '\.\.'"),
    "parent folder": ([member("../outside/new", type=tarfile.DIRTYPE)], r"a part '\.\.'"),
    "empty part": ([member("a//b", b"1")], "an empty part"),
    "control": ([member("a\x1bb", b"1")], "a control character"),
    "drive": ([member("C:/a", b"1")], "a drive"),
    "long name": ([member("n" * 5_000, b"1")], "has 5000 bytes"),
    "twice": ([member("a", b"1"), member("a", b"2")], "'a' is there twice"),
    "twice, as another": ([member("a", b"1"), member("./a", b"2")], "'a' is there twice"),
    "file and folder": ([member("a", b"1"), member("a/b", b"2")], "'a/b' is below a file"),
    "folder and file": ([member("a/b", b"1"), member("a", b"2")], "'a' is there twice"),
    "no number": ([member("a", b"1", pax_headers={"size": "-1"})], "an invalid number"),
}


@pytest.mark.vulnerability(4)
@pytest.mark.cve("archives")
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
@pytest.mark.parametrize("case", REFUSED)
def test_vulnerability_4_what_is_no_regular_file_inside_is_refused(place: Path, case: str, form: int) -> None:
    members, words = REFUSED[case]
    if any(info.pax_headers for info, _ in members):
        form = tarfile.PAX_FORMAT
    packed = pack(place / "a.tar.gz", member("first", b"1"), *members, form=form)
    before = everything(place.parent)
    with pytest.raises(IntegrityError, match=words) as caught:
        extract(packed, place / "out")
    assert caught.value.where == str(packed)
    assert caught.value.fix
    assert caught.value.what.isprintable()
    assert everything(place.parent) == before


@pytest.mark.vulnerability(4)
@pytest.mark.cve("archives")
def test_vulnerability_4_the_way_out_of_the_data_filter_is_refused(place: Path) -> None:
    """CVE-2025-4517: realpath gives up beyond PATH_MAX, so that a link to a long path is taken for a harmless one.

    https://github.com/google/security-research/security/advisories/GHSA-hgqp-3mmf-7h8f
    """
    folder, steps, path, members = "d" * 247, "abcdefghijklmnop", "", []
    for step in steps:
        members.append(member(f"{path}{folder}", type=tarfile.DIRTYPE))
        members.append(member(f"{path}{step}", type=tarfile.SYMTYPE, linkname=folder))
        path += f"{folder}/"
    over = "/".join(steps) + "/" + "l" * 254
    members.append(member(over, type=tarfile.SYMTYPE, linkname="../" * len(steps)))
    members.append(member("escape", type=tarfile.SYMTYPE, linkname=f"{over}/../outside"))
    members.append(member("escape/precious", b"owned"))
    packed = pack(place / "a.tar.gz", *members)
    with pytest.raises(IntegrityError, match="a symbolic link"):
        extract(packed, place / "out")
    assert everything(place.parent / "outside") == {"precious": b"mine"}


def _gnu_sparse(path: Path) -> None:
    """The old form, whose map never ends (CVE-2025-8194 and similar)."""
    info = tarfile.TarInfo("a")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * 32)
    path.write_bytes(bytes(header) + (b"\0" * 504 + b"\1" + b"\0" * 7) * 10_000)


def _negative_size(path: Path) -> None:
    header = bytearray(tarfile.TarInfo("a").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 8 + struct.pack(">i", -1536)
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * 32)
    path.write_bytes(bytes(header) * 4 + bytes(1024))


def _pax(content: bytes, size: int | None = None) -> Callable[[Path], object]:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(content) if size is None else size
    padded = content + bytes(-len(content) % 512)
    return lambda path: path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + padded + bytes(1024))


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "ends in the middle"),
    "no tar": (lambda path: path.write_bytes(b"PK\3\4" * 500), "is damaged, or not a tar file"),
    "no gzip": (lambda path: path.write_bytes(b"\x1f\x8b" + b"x" * 500), "is damaged"),
    "bzip2": (
        lambda path: pack(path, member("a", b"1"), mode="w:bz2"),
        "is damaged, or not a tar file|ends in the middle",
    ),
    "old sparse": (_gnu_sparse, "a sparse file"),
    "negative size": (_negative_size, "has a negative size"),
    "endless pax": (_pax(b"0 a=b\n"), "a damaged pax header"),
    "pax without a number": (_pax(b"6 a=b\nxxxxxxxxxxxxxxx=b\n"), "an invalid number"),
    "pax too long": (_pax(b"99 a=b\n"), "a damaged pax header"),
    "pax of 8 GiB": (_pax(b"6 a=b\n", (8 << 30) - 1), "headers that are too long"),
    "pax of digits": (_pax(b"1" * 60_000), "an invalid number"),
}


@pytest.mark.vulnerability(4)
@pytest.mark.cve("archives")
@pytest.mark.parametrize("case", DAMAGED)
def test_vulnerability_4_damaged_archives_are_refused(place: Path, case: str) -> None:
    write, words = DAMAGED[case]
    write(place / "a.tar")
    with pytest.raises(IntegrityError, match=words):
        extract(place / "a.tar", place / "out")
    assert [path.name for path in place.iterdir()] == ["a.tar"]


def test_a_gzipped_archive_is_read_to_its_checksum(place: Path) -> None:
    packed = pack(place / "a.tar.gz", member("a", b"1" * 1000))
    whole = packed.read_bytes()
    packed.write_bytes(whole[:-8] + bytes(4) + whole[-4:])
    with pytest.raises(IntegrityError, match="incorrect data check"):
        extract(packed, place / "out")
    packed.write_bytes(whole[:-8])
    with pytest.raises(IntegrityError, match="ends in the middle"):
        extract(packed, place / "out")


def _repeated(path: Path, content: bytes, times: int) -> Path:
    """A gzip file of the same content many times, without packing it many times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)
    end = packer.flush()
    checksum = 0
    for _ in range(times):
        checksum = zlib.crc32(content, checksum)
    trailer = struct.pack("<LL", checksum, len(content) * times & 0xFFFFFFFF)
    path.write_bytes(gzip.compress(b"")[:10] + piece * times + end + trailer)
    return path


def _bomb(path: Path) -> Path:
    return _repeated(path, member("a")[0].tobuf() + bytes(1 << 20), 1_000)


def _one_file(path: Path) -> Path:
    """A file of a gigabyte of zeros, in a megabyte."""
    info, _ = member("a", size=1 << 30)
    return _repeated(path, info.tobuf() + bytes((1 << 20) - 512), 1_024)


def _a_million(path: Path) -> Path:
    return _repeated(path, member("./", type=tarfile.DIRTYPE)[0].tobuf() * 1_000, 1_000)


def _headers_only(path: Path) -> Path:
    longest = member("././@LongLink", type=tarfile.GNUTYPE_LONGNAME, size=1 << 20)[0].tobuf() + b"a" * (1 << 20)
    return _repeated(path, longest, 100)


def _deep(path: Path) -> Path:
    """Few members, which need many folders."""
    return pack(path, *(member("/".join([str(number), *"abcdefghij" * 5]) + "/x", b"1") for number in range(500)))


@pytest.mark.vulnerability(4)
@pytest.mark.cve("archives")
@pytest.mark.parametrize(
    ("make", "limits", "words"),
    [
        (_bomb, ArchiveLimits(), "too large when unpacked"),
        (_one_file, ArchiveLimits(), "too large when unpacked: 'a'"),
        (_a_million, ArchiveLimits(), "has more than 10000 members"),
        (_headers_only, ArchiveLimits(ratio=10_000), "headers that are too long"),
        (_deep, ArchiveLimits(members=1_000), "exceeds the maximum number of files"),
    ],
)
def test_vulnerability_4_bombs_are_refused_in_little_memory(
    place: Path, make: Callable[[Path], Path], limits: ArchiveLimits, words: str
) -> None:
    packed = make(place / "a.tar.gz")
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError, match=words):
            extract(packed, place / "out", limits)
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()
    assert [path.name for path in place.iterdir()] == ["a.tar.gz"]


def test_limits_are_the_callers(place: Path) -> None:
    packed = pack(place / "a.tar", member("a", b"1"), member("b", b"1"), mode="w")
    for limits, words in (
        (ArchiveLimits(members=1), "more than 1 members"),
        (ArchiveLimits(total=1_000), "too large when unpacked"),
    ):
        with pytest.raises(IntegrityError, match=words):
            extract(packed, place / "out", limits)
    extract(packed, place / "out", ArchiveLimits(members=2, total=1 << 20))


def _fuzzed(number: int, path: Path, outside: Path) -> None:
    """An archive of a few members, mostly hostile, perhaps with some bytes changed."""
    draw = random.Random(number)
    names = ["a", "a/b", "link", "link/precious", "deep/w.bin", *hostile_keys(number, 4, outside)]
    kinds = [tarfile.REGTYPE] * 4 + [tarfile.DIRTYPE] * 2 + [b"1", b"2", b"3", b"4", b"6", b"7", b"S", b"x", b"L", b"K"]
    targets = [str(outside), "../outside", "..", "a", "/", "../" * 20 + str(outside).lstrip("/")]
    members = []
    for _ in range(draw.randint(1, 5)):
        kind, content = draw.choice(kinds), draw.randbytes(draw.choice((0, 1, 511, 512, 5_000)))
        name = draw.choice(names).replace("\0", "").encode(errors="surrogateescape").decode(errors="surrogateescape")
        made = member(name, content, type=kind, linkname=draw.choice(targets), mode=draw.randrange(0o10000))
        made[0].size = draw.choice((len(content), len(content), 0, 1 << 40)) if draw.random() < 0.2 else len(content)
        members.append(made)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=draw.choice(FORMATS), errors="surrogateescape") as tar:
        for info, content in members:
            try:
                tar.addfile(info, io.BytesIO(content + bytes(info.size - len(content) if info.size < 1 << 20 else 0)))
            except (ValueError, OSError, tarfile.TarError):  # a name that the format has no room for
                continue
    data = bytearray(plain.getvalue())
    for _ in range(draw.choice((0, 0, 1, 10))):
        data[draw.randrange(len(data))] = draw.randrange(256)
    if draw.random() < 0.2:
        del data[draw.randrange(len(data)) :]
    path.write_bytes(gzip.compress(data, 1) if draw.random() < 0.7 else data)


@pytest.mark.vulnerability(4)
@pytest.mark.cve("archives")
@pytest.mark.scorecard("archive-fuzz")
def test_vulnerability_4_of_1000_fuzzed_archives_none_leaves_its_folder_or_hangs(place: Path) -> None:
    packed, out = place / "a.tar", place / "out"
    out.mkdir()
    before = everything(place.parent, but=place)
    extracted = 0
    for number in range(1_000):
        _fuzzed(number, packed, place.parent / "outside")
        try:
            extract(packed, out / str(number))
        except IntegrityError:
            continue
        extracted += 1
    assert everything(place.parent, but=place) == before
    assert sorted(path.name for path in place.iterdir()) == ["a.tar", "out"]
    assert 50 < extracted < 900
    assert all(isinstance(content, bytes) or content is None for content in everything(out).values())
