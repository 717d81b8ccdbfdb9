"""Reads recorded traffic of an endpoint: lines of `capture/1` (core/documents/captured.py)."""

from collections.abc import Iterator

from llmops_kit.core.documents.captured import CapturedRequest
from llmops_kit.core.errors import DataError, DocumentError
from llmops_kit.data_pipeline.readers.jsons import checked, parse_row
from llmops_kit.data_pipeline.readers.reader import DataFile, ReadRow
from llmops_kit.data_pipeline.readers.texts import read_lines


def read_captures(file: DataFile) -> Iterator[ReadRow]:
    """Yields a row for each line, converted by CapturedRequest.to_row; one with negative feedback is dropped."""
    for number, line in read_lines(file):
        if not line.strip():
            continue
        where = f"{file.name}:{number}"
        parsed = parse_row(line, where)
        if parsed.fault:  # checked first, since Document.parse accepts YAML too
            yield parsed
            continue
        try:
            captured = CapturedRequest.parse(line, where=where)
            yield checked(captured.to_row(), where)._replace(dropped=captured.feedback.rejection)
        except DocumentError as e:
            fix = e.fix or "`llmops schema capture` prints the format"
            yield ReadRow(where, None, DataError(e.what, where=e.where, fix=fix))
