"""JSON lines and arrays: a bad row is a fault in its place, and the others are read."""

import json
from pathlib import Path

import pytest

from llmops_kit.core.errors import DataError
from llmops_kit.data_pipeline.readers.reader import ReadRow, read


def read_text(path: Path, text: str) -> list[ReadRow]:
    path.write_text(text, encoding="utf-8")
    return list(read(path, name="f"))


def test_lines(tmp_path: Path) -> None:
    rows = read_text(tmp_path / "a.jsonl", '{"text": "ä\u2028b"}\n\n  \n{"n": [1, null]}')
    assert rows == [ReadRow("f:1", {"text": "ä\u2028b"}), ReadRow("f:4", {"n": [1, None]})]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        '"text"',
        "null",
        '{"a": 1, "a": 2}',
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": 9223372036854775808}',
        '{"a": ' + "[" * 40 + "]" * 40 + "}",
        '{"a": "\\ud800"}',
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"a": ' + "9" * 10_000 + "}",
        "{'a': 1}",
        "a: 1",
    ],
    ids=range(14),
)
def test_a_bad_line_is_a_fault_and_the_next_is_read(tmp_path: Path, line: str) -> None:
    bad, good = read_text(tmp_path / "a.jsonl", f'{line}\n{{"text": "x"}}\n')
    assert (bad.where, bad.row) == ("f:1", None)
    assert isinstance(bad.fault, DataError)
    assert bad.fault.where == "f:1"
    assert good == ReadRow("f:2", {"text": "x"})


@pytest.mark.parametrize("form", ["[{}, {}]", '{{"about": 1, "data": [{}, {}]}}'])
def test_arrays(tmp_path: Path, form: str) -> None:
    first, second = read_text(tmp_path / "a.json", form.format(json.dumps({"text": "x"}), "3"))
    assert first == ReadRow("f:1", {"text": "x"})
    assert (second.where, second.row) == ("f:2", None)


@pytest.mark.parametrize("text", ["", "{}", '{"data": {}}', '"x"', '{"text": 1}\n{"text": 2}', "[" * 100_000])
def test_a_file_without_an_array_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError):
        read_text(tmp_path / "a.json", text)
