"""CSV, TSV and Parquet."""

import datetime
import decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from llmops_kit.core.errors import DataError
from llmops_kit.data_pipeline.readers.reader import ReadRow, read


def read_csv(path: Path, text: str) -> list[ReadRow]:
    path.write_text(text, encoding="utf-8", newline="")
    return list(read(path, name="f"))


def test_records_have_the_line_that_they_begin_in(tmp_path: Path) -> None:
    rows = read_csv(tmp_path / "a.csv", 'a, b\r\n1,"two\r\nlines"\r\n\r\n,"say ""x"""\r\n')
    assert rows == [ReadRow("f:2", {"a": "1", "b": "two\nlines"}), ReadRow("f:5", {"a": "", "b": 'say "x"'})]
    assert read_csv(tmp_path / "a.tsv", "a\tb\n1\t2,3\n") == [ReadRow("f:2", {"a": "1", "b": "2,3"})]


def test_expect_is_a_list_and_known_names_are_taken_in_any_case(tmp_path: Path) -> None:
    text = 'Question,ANSWER,Fact,Expect\nWhen?,9 to 17.,Hours,"9; 17 ;"\nWhere?,Here.,Place,\n'
    assert [row.row for row in read_csv(tmp_path / "a.csv", text)] == [
        {"question": "When?", "answer": "9 to 17.", "Fact": "Hours", "expect": ["9", "17"]},
        {"question": "Where?", "answer": "Here.", "Fact": "Place", "expect": []},
    ]


def test_ragged_records_are_faults(tmp_path: Path) -> None:
    rows = read_csv(tmp_path / "a.csv", "a,b\n1\n1,2\n1,2,3\n")
    assert [(row.where, row.row is None) for row in rows] == [("f:2", True), ("f:3", False), ("f:4", True)]
    assert all(row.fault for row in rows if row.row is None)


def test_an_empty_column_is_a_fault_after_the_rows(tmp_path: Path) -> None:
    *rows, last = read_csv(tmp_path / "a.csv", "a,b\n1,\n2,\n")
    assert [row.row for row in rows] == [{"a": "1", "b": ""}, {"a": "2", "b": ""}]
    assert (last.where, last.row) == ("f:1", None)
    assert read_csv(tmp_path / "b.csv", "a,b\n") == []


@pytest.mark.parametrize(
    "text", ["", "a,,b\n1,2,3\n", "a,b,a\n1,2,3\n", "text,Text\n1,2\n", "a;b\n1;2\n", "a\tb\n1\t2\n"]
)
def test_a_header_that_names_no_columns_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError) as e:
        read_csv(tmp_path / "a.csv", text)
    assert e.value.where == "f:1"


def test_a_quote_without_end_is_refused_by_the_line_where_it_begins(tmp_path: Path) -> None:
    with pytest.raises(DataError) as e:
        read_csv(tmp_path / "a.csv", 'a,b\n1,2\n3,"4\n5,6\n')
    assert e.value.where == "f:3"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_parquet(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"id": "1"}]}]},
        {"messages": [], "when": datetime.datetime(2026, 1, 2), "price": decimal.Decimal("1.5")},
    ]
    found = list(read(write(tmp_path / "a.parquet", rows), name="f"))
    assert found == [
        ReadRow("f:1", rows[0]),
        ReadRow("f:2", {"messages": [], "when": "2026-01-02T00:00:00", "price": 1.5}),
    ]


def test_parquet_of_bytes_is_a_fault(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path / "a.parquet", [{"image": b"\xff"}]), name="f")
    assert (row.where, row.row) == ("f:1", None)


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{"text": f"{i * 7919 % 10007}"} for i in range(5000)])
    whole = path.read_bytes()
    for content in (b"", b"PAR1", whole[:-1], whole[: len(whole) // 2], b"{}" * 100):
        path.write_bytes(content)
        with pytest.raises(DataError):
            list(read(path))
