"""gettext catalogues become sentence pairs."""

import struct
from pathlib import Path

import polib
import pytest

from llmops_kit.core.errors import DataError
from llmops_kit.data_pipeline.readers.reader import ReadRow, read

PO = """msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"

#: a.py:1
#, python-format
msgid "Hello %(name)s"
msgstr "Hallo\u2028%(name)s"

msgctxt "month"
msgid "May"
msgstr "Mai"

msgid "one file"
msgid_plural "%d files"
msgstr[0] "eine Datei"
msgstr[1] "%d Dateien"

#, fuzzy
msgid "Save"
msgstr "Speichern?"

msgid "untranslated"
msgstr ""

#~ msgid "Old"
#~ msgstr "Alt"
"""
PAIRS = [
    {"translation": {"en": "Hello %(name)s", "de": "Hallo\u2028%(name)s"}},
    {"translation": {"en": "May", "de": "Mai"}, "context": "month"},
]


def read_pairs(path: Path) -> list[ReadRow]:
    return list(read(path, name="f", languages=["en", "de"]))


def test_po(tmp_path: Path) -> None:
    (tmp_path / "a.po").write_text(PO)
    assert read_pairs(tmp_path / "a.po") == [ReadRow("f:5", PAIRS[0]), ReadRow("f:10", PAIRS[1])]


def test_mo(tmp_path: Path) -> None:
    polib.pofile(PO.replace("\u2028", " ")).save_as_mofile(str(tmp_path / "a.mo"))
    found = [row.row for row in read_pairs(tmp_path / "a.mo")]
    assert len(found) == 2
    assert PAIRS[1] in found


def test_two_languages_are_needed(tmp_path: Path) -> None:
    (tmp_path / "a.po").write_text(PO)
    with pytest.raises(DataError):
        list(read(tmp_path / "a.po"))


def test_a_syntax_error_is_refused_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.po").write_text('msgid "a"\nmsgstr "b"\n\ngarbage\n')
    with pytest.raises(DataError) as e:
        read_pairs(tmp_path / "a.po")
    assert e.value.where == "f:4"


def test_a_catalogue_that_is_the_name_of_a_file_is_not_that_file(tmp_path: Path) -> None:
    (tmp_path / "secret.po").write_text(PO)
    (tmp_path / "a.po").write_text(str(tmp_path / "secret.po"))
    with pytest.raises(DataError):
        read_pairs(tmp_path / "a.po")


def test_mo_files_whose_strings_overlap_are_refused(tmp_path: Path) -> None:
    """Each of 1,000 strings is the same text: 100 MB from 116 kB."""
    count, text = 1000, b"x" * 100_000
    tables = struct.pack("<2I", len(text), 28 + 16 * count) * (2 * count)
    header = struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0)
    (tmp_path / "a.mo").write_bytes(header + tables + text)
    with pytest.raises(DataError):
        read_pairs(tmp_path / "a.mo")


def test_damaged_mo_files_are_refused(tmp_path: Path) -> None:
    for damaged in (b"", b"\xde\x12\x04\x95", b"x" * 100, struct.pack("<7I", 0x950412DE, 0, 1 << 31, 28, 28, 0, 0)):
        (tmp_path / "a.mo").write_bytes(damaged)
        with pytest.raises(DataError):
            read_pairs(tmp_path / "a.mo")
