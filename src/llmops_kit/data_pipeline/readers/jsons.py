"""Reads JSON lines, and JSON files with an array of rows."""

from collections.abc import Iterator
from typing import Any, cast

from llmops_kit.core.document import parse_json
from llmops_kit.core.errors import DataError, DocumentError, KitError
from llmops_kit.core.json_values import check_json
from llmops_kit.data_pipeline.readers.reader import DataFile, ReadRow
from llmops_kit.data_pipeline.readers.texts import MOST_BYTES, read_lines, read_whole

_FIX = "write one JSON object per row"


def read_lines_of_json(file: DataFile) -> Iterator[ReadRow]:
    """Yields a row for each line that is not blank."""
    for number, line in read_lines(file):
        if line.strip():
            yield parse_row(line, f"{file.name}:{number}")


def read_array(file: DataFile) -> Iterator[ReadRow]:
    """Yields a row for each item of the file's array, or of the array at its key `data`.

    Raises:
        DataError: it is not JSON, or holds no such array.
    """
    try:
        found = parse_json(read_whole(file, MOST_BYTES), file.name)
    except ValueError as e:
        raise DataError(f"is not JSON: {e}", where=file.name, fix="JSON lines have names that end in .jsonl") from None
    except KitError as e:
        raise DataError(e.what, where=file.name, fix=_FIX) from None
    rows = found.get("data") if isinstance(found, dict) else found
    if not isinstance(rows, list):
        what = "holds neither an array nor an object with an array at `data`"
        raise DataError(what, where=file.name, fix="write [{…}, {…}], or name it .jsonl if each line is an object")
    for number, row in enumerate(rows, start=1):
        yield checked(row, f"{file.name}:{number}")


def parse_row(line: str, where: str) -> ReadRow:
    """Returns the row of a line of JSON, or the fault for which it is dropped."""
    try:
        return checked(parse_json(line, where), where)
    except KitError as e:
        return _fault(e.what, where)
    except ValueError as e:
        return _fault(f"is not JSON: {e}", where)


def checked(value: object, where: str) -> ReadRow:
    """Returns a row if a value is a JSON object that all readers interpret alike (`check_json`); otherwise a fault."""
    if not isinstance(value, dict):
        return _fault(f"is not a JSON object but {type(value).__name__}", where)
    try:
        check_json(value)
    except DocumentError as e:
        return _fault(e.what, where)
    return ReadRow(where, cast(dict[str, Any], value))


def _fault(what: str, where: str) -> ReadRow:
    return ReadRow(where, None, DataError(what, where=where, fix=_FIX))
