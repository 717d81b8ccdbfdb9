"""Bytes become lines without a guess: packed or plain, in UTF-8 or what is said."""

import codecs
import gzip
import subprocess
from pathlib import Path

import pytest
import zstandard

from llmops_kit.core.errors import DataError
from llmops_kit.data_pipeline.readers import texts
from llmops_kit.data_pipeline.readers.reader import DataFile, read

LINES = ["größe", "", "ende\u2028mitte", "letzte"]


def lines_of(path: Path, content: bytes, encoding: str = "") -> list[tuple[int, str]]:
    path.write_bytes(content)
    return list(texts.read_lines(DataFile(path, "f", encoding)))


def refused(path: Path, content: bytes, encoding: str = "") -> str:
    with pytest.raises(DataError) as e:
        lines_of(path, content, encoding)
    return e.value.where


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_utf8(tmp_path: Path, mark: bytes) -> None:
    for end in ("\n", "\r\n"):
        assert lines_of(tmp_path / "a.txt", mark + end.join(LINES).encode()) == list(enumerate(LINES, 1))


@pytest.mark.parametrize("order", ["le", "be"])
def test_utf16_with_a_mark(tmp_path: Path, order: str) -> None:
    mark = getattr(codecs, f"BOM_UTF16_{order.upper()}")
    assert lines_of(tmp_path / "a.txt", mark + "\n".join(LINES).encode(f"utf-16-{order}")) == list(enumerate(LINES, 1))


def test_the_fix_for_another_encoding_is_a_command_that_works(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with pytest.raises(DataError) as caught:
        lines_of(path, "Café\n".encode("cp1252"))
    command = caught.value.fix.removeprefix("convert the file: ").partition(";")[0]
    subprocess.run(["bash", "-c", command.replace("FILE", "a").replace("NEW", "b")], cwd=tmp_path, check=True)
    assert lines_of(path, (tmp_path / "b").read_bytes()) == [(1, "Café")]


def test_another_encoding_is_refused_by_line_unless_it_is_said(tmp_path: Path) -> None:
    content = b"one\ntwo\ngr\xf6\xdfe\n"
    assert refused(tmp_path / "a.txt", content) == "f:3"
    assert lines_of(tmp_path / "a.txt", content, "cp1252")[2] == (3, "größe")
    assert refused(tmp_path / "a.txt", "one\nzwei".encode("utf-16-le")) == "f:1"  # without its mark
    assert refused(tmp_path / "a.txt", codecs.BOM_UTF16_LE + "one\n".encode("utf-16-le") + b"\x00\xd8\n\x00") == "f:2"
    for name in ("no-such", "zlib", "base64"):
        assert refused(tmp_path / "a.txt", b"x", name) == "f"


def test_a_character_across_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_PIECE", 3)
    assert lines_of(tmp_path / "a.txt", "\n".join(LINES).encode()) == list(enumerate(LINES, 1))
    assert refused(tmp_path / "a.txt", "\n".join(LINES).encode() + b"\n\xff") == "f:5"


def test_packed_files_of_several_parts(tmp_path: Path) -> None:
    parts = [f"{line}\n".encode() for line in LINES]
    pack = zstandard.ZstdCompressor().compress
    expected = list(enumerate(LINES, 1))
    assert lines_of(tmp_path / "a.jsonl.gz", b"".join(gzip.compress(p) for p in parts)) == expected
    assert lines_of(tmp_path / "a.jsonl.zst", b"".join(map(pack, parts))) == expected


@pytest.mark.parametrize("end", [".gz", ".zst"])
def test_damage_is_refused(tmp_path: Path, end: str) -> None:
    text = "".join(f"{i * 7919 % 10007}\n" for i in range(20_000)).encode()
    packed = gzip.compress(text) if end == ".gz" else zstandard.ZstdCompressor(write_checksum=True).compress(text)
    path = tmp_path / f"a.txt{end}"
    assert len(lines_of(path, packed)) == 20_000
    for size in (5, 100, len(packed) // 2, len(packed) - 1):
        assert refused(path, packed[:size]) == "f"
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0x55
    assert refused(path, bytes(flipped)).startswith("f")


@pytest.mark.parametrize("end", [".gz", ".zst"])
def test_bombs_are_refused_before_they_fill_the_memory(tmp_path: Path, end: str) -> None:
    lines = (b"x" * 1023 + b"\n") * (64 << 10)
    packed = gzip.compress(lines) if end == ".gz" else zstandard.ZstdCompressor().compress(lines)
    assert refused(tmp_path / f"a.txt{end}", packed) == "f"


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MOST_CHARACTERS", 1000)
    monkeypatch.setattr(texts, "_PIECE", 100)
    assert refused(tmp_path / "a.txt", b"ok\n" + b"x" * 1200) == "f:2"


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    for name in ("a.pkl", "a.bin", "a.docx", "a", "a.parquet.gz"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(DataError):
            list(read(tmp_path / name))
