"""The rows that docs/how-to/own-data.md shows are read as the kinds that it says."""

import re
from pathlib import Path

from llmops_kit.data_pipeline.readers.reader import read
from llmops_kit.training.data.rows import Row, parse_row, row_of
from tests.support.checkout import CHECKOUT

PAGE = CHECKOUT / "docs" / "how-to" / "own-data.md"
PRINTED = ["chat", "chat", "chat", "chat", "chat", "preference", "preference", "text", "translation"]


def shown() -> list[Row]:
    blocks = re.findall(r"^```jsonl\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [parse_row(line, f"{PAGE.name}: {line[:40]}") for line in lines]


def test_each_example_is_read_as_its_kind() -> None:
    assert [row.kind for row in shown()] == PRINTED


def test_the_table_lists_every_kind() -> None:
    table = re.findall(r"^\| (chat|preference|text|translation) \|", PAGE.read_text(), flags=re.MULTILINE)
    assert set(table) == set(PRINTED)


def test_examples_show_what_the_text_says() -> None:
    conversation, called, plain, continued, asked, *_ = shown()
    assert conversation.metadata == {"topic": "tea"}
    assert called.turns[1]["tool_calls"][0]["function"]["arguments"] == {"item": "tea"}
    assert (plain.completion, continued.completion) == (0, 1)
    assert (asked.turns, asked.expect) == (plain.turns, ["two"])


def test_the_csv_is_read_as_the_text_says(tmp_path: Path) -> None:
    [block] = re.findall(r"^```csv\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "rows.csv").write_text(block)
    rows = [row_of(each.row or {}, each.where) for each in read(tmp_path / "rows.csv")]
    assert [row.answer for row in rows] == ["Tea is two, coffee three.", "Yes."]
    assert [row.expect for row in rows] == [["two", "three"], ["yes|sure"]]
    assert {row.metadata["item"] for row in rows} == {"tea"}
