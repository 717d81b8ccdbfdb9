"""Reads CSV, TSV and Parquet."""

import csv
import datetime
import decimal
from collections.abc import Iterator
from typing import Any

from llmops_kit.core.errors import DataError, require_packages
from llmops_kit.data_pipeline.readers.jsons import checked
from llmops_kit.data_pipeline.readers.reader import DataFile, ReadRow
from llmops_kit.data_pipeline.readers.texts import MOST_CHARACTERS, read_lines
from llmops_kit.training.data.rows import KEYS

_BATCH = 256  # rows
_LIST, _SEPARATOR = "expect", ";"


def read_csv(file: DataFile) -> Iterator[ReadRow]:
    """Yields a row for each record, by the header's names; values are texts, empty ones too.

    `expect` is a list of texts separated by semicolons. Names of known keys are case-insensitive: `Question` is
    `question`.

    A record with more or fewer fields than the header is a fault at its first line. A column that is empty in every
    record is a fault at line 1, after the last row.

    Raises:
        DataError: the header is missing, or has an empty name or one twice; or a quote has no end.
    """
    return _read_table(file, ",")


def read_tsv(file: DataFile) -> Iterator[ReadRow]:
    """Yields rows like `read_csv`, separated by tabs."""
    return _read_table(file, "\t")


def _read_table(file: DataFile, delimiter: str) -> Iterator[ReadRow]:
    csv.field_size_limit(MOST_CHARACTERS)
    records = csv.reader((f"{line}\n" for _, line in read_lines(file)), delimiter=delimiter, strict=True)
    header = _header(file, delimiter, records)
    filled: set[str] = set()
    end, count = records.line_num, 0
    try:
        for record in records:
            where, end = f"{file.name}:{end + 1}", records.line_num
            if not record:  # a blank line
                continue
            count += 1
            if len(record) != len(header):
                what = f"has {len(record)} fields, the header {len(header)}"
                fix = "quote a field that holds the delimiter or a line end"
                yield ReadRow(where, None, DataError(what, where=where, fix=fix))
                continue
            row: dict[str, Any] = dict(zip(header, record, strict=True))
            filled |= {name for name, value in row.items() if value}
            if _LIST in row:
                row[_LIST] = [text.strip() for text in row[_LIST].split(_SEPARATOR) if text.strip()]
            yield ReadRow(where, row)
    except csv.Error as e:
        raise DataError(f"is not valid CSV: {e}", where=f"{file.name}:{end + 1}", fix="close the quote") from None
    for name in (name for name in header if count and name not in filled):
        where = f"{file.name}:1"
        what = f"the column {name!r} is empty in every row"
        yield ReadRow(where, None, DataError(what, where=where, fix="fill it, or remove the column"))


def _header(file: DataFile, delimiter: str, records: Any) -> list[str]:
    where = f"{file.name}:1"
    try:
        names = [name.strip() for name in next(records, [])]
    except csv.Error as e:
        raise DataError(f"is not valid CSV: {e}", where=where, fix="close the quote") from None
    header = [name.lower() if name.lower() in KEYS else name for name in names]
    if not header:
        raise DataError("has no header", where=where, fix="write the columns' names into the first line")
    for name in header:
        if not name or header.count(name) > 1:
            what = f"the header has the column {name!r} twice" if name else "the header has a column without a name"
            raise DataError(what, where=where, fix="give each column its own name")
    if len(header) == 1 and (other := next((d for d in ",;\t|" if d in header[0] and d != delimiter), "")):
        what = f"has one column; it seems to be delimited by {other!r}"
        raise DataError(what, where=where, fix="export it with commas (.csv) or tabs (.tsv)")
    return header


def read_parquet(file: DataFile) -> Iterator[ReadRow]:
    """Yields a row for each record, without its nulls. Times become ISO texts, decimals numbers; bytes are faults.

    Raises:
        DataError: it is damaged, or not a Parquet file.
    """
    require_packages("data", "pyarrow")
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(file.path, pre_buffer=False) as opened:
            for batch in opened.iter_batches(batch_size=_BATCH, use_threads=False):
                for record in batch.to_pylist():
                    number += 1
                    yield _of_record(record, f"{file.name}:{number}")
    except (pyarrow.ArrowException, OSError, ValueError) as e:
        what = f"is damaged, or not a Parquet file: {str(e).splitlines()[0]}"
        raise DataError(what, where=f"{file.name}:{number + 1}", fix="write it again") from None


def _of_record(record: dict[str, Any], where: str) -> ReadRow:
    try:
        return checked(_as_json(record), where)
    except TypeError as e:
        return ReadRow(where, None, DataError(str(e), where=where, fix="leave that column out"))


def _as_json(value: Any) -> Any:
    """Returns a value without the nulls of its objects: Parquet gives each object the keys of all."""
    if isinstance(value, dict):
        return {str(key): _as_json(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"holds a value of type {type(value).__name__}, which JSON lacks")
