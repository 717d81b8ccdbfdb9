"""Reads gettext catalogues: translated messages as sentence pairs."""

import re
import struct
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

from llmops_kit.core.errors import DataError, require_packages
from llmops_kit.data_pipeline.readers.reader import DataFile, ReadRow
from llmops_kit.data_pipeline.readers.texts import read_bytes, read_whole

_MOST = 64 << 20  # bytes of a catalogue
_LINE = re.compile(r"\(line (\d+)\)|line (\d+)")


def read_po(file: DataFile) -> Iterator[ReadRow]:
    """Yields a row `translation`, with `context` if there is one, for each entry that is translated, neither fuzzy nor
    obsolete, and has no plural forms. Placeholders such as `%(name)s` are kept.

    Raises:
        DataError: the source does not name two languages, or a line is malformed.
    """
    require_packages("data", "polib")
    import polib

    source, target = _languages(file)
    # By a path: polib takes a text for a file name if such a file exists, and splits it at U+2028 and similar.
    with tempfile.NamedTemporaryFile("w", suffix=".po", encoding="utf-8") as copy:
        copy.write(read_whole(file, _MOST) + "\n")
        copy.flush()
        try:
            entries = polib.pofile(copy.name, encoding="utf-8")
        except (OSError, ValueError, IndexError, AttributeError) as e:
            found = _LINE.search(str(e))
            line = next(filter(None, found.groups()), "1") if found else "1"
            what = "is not a gettext catalogue: a syntax error"
            raise DataError(what, where=f"{file.name}:{line}", fix="`msgfmt --check` shows it") from None
    good = ((entry.linenum, entry) for entry in entries if not entry.obsolete and not entry.fuzzy)
    yield from _pairs(file, source, target, good)


def read_mo(file: DataFile) -> Iterator[ReadRow]:
    """Yields rows like `read_po`; the location of a row is its number in the catalogue.

    Raises:
        DataError: the source does not name two languages, or the file is damaged.
    """
    import polib

    source, target = _languages(file)
    content = read_bytes(file, _MOST)
    try:
        _check_lengths(content)
        entries = polib.mofile(content)  # type: ignore[arg-type]  # takes bytes too
    except (OSError, ValueError, struct.error, LookupError) as e:
        raise DataError(f"is damaged, or not a .mo file: {e}", where=file.name, fix="use the .po file") from None
    yield from _pairs(file, source, target, enumerate(entries, start=1))


def _pairs(file: DataFile, source: str, target: str, entries: Iterable[tuple[int | None, Any]]) -> Iterator[ReadRow]:
    for number, entry in entries:
        if entry.msgid and entry.msgstr and not entry.msgid_plural:
            row: dict[str, Any] = {"translation": {source: entry.msgid, target: entry.msgstr}}
            yield ReadRow(f"{file.name}:{number}", row | ({"context": entry.msgctxt} if entry.msgctxt else {}))


def _languages(file: DataFile) -> tuple[str, str]:
    if len(file.languages) != 2:
        fix = "add `languages: [en, de]` to the source: the messages' own language and the translations'"
        raise DataError("a catalogue needs two languages", where=file.name, fix=fix)
    return file.languages[0], file.languages[1]


def _check_lengths(content: bytes) -> None:
    """Raises ValueError if all strings together are longer than the file: each could be the whole file.

    https://www.gnu.org/software/gettext/manual/html_node/MO-Files.html
    """
    order = "<" if content[:4] == b"\xde\x12\x04\x95" else ">"
    _, count, *tables = struct.unpack_from(f"{order}4I", content, 4)
    lengths = (struct.unpack_from(f"{order}I", content, at + 8 * i)[0] for at in tables for i in range(count))
    if sum(lengths) > len(content):
        raise ValueError("its strings overlap")
