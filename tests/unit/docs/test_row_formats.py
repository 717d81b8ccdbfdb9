"""The rows that docs/how-to/own-data.md shows are read as the kinds that it says."""

import re

from tests.support.checkout import CHECKOUT
from training.data.rows import Row, parse_row

PAGE = CHECKOUT / "docs" / "how-to" / "own-data.md"
PRINTED = ["chat", "chat", "chat", "chat", "preference", "preference", "text", "translation"]


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
    conversation, called, plain, continued, *_ = shown()
    assert conversation.metadata == {"topic": "tea"}
    assert called.turns[1]["tool_calls"][0]["function"]["arguments"] == {"item": "tea"}
    assert (plain.completion, continued.completion) == (0, 1)
