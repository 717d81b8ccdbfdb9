"""Tables for people, in a terminal and in a pipe."""

import re

import pytest

from llmops_kit.cli.terminal.tables import print_rows

ROWS = [
    {"name": "chatbot", "why": "long " * 60 + "end", "count": 3},
    {"name": "a", "why": "", "count": None},
]


def test_a_piped_table_is_plain_text_with_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, ["name", "why", "count"], as_json=False)
    head, first, second = capsys.readouterr().out.splitlines()  # no line of a box, none empty
    assert head.split() == ["name", "why", "count"]
    assert first.split() == ["chatbot", *(["long"] * 60), "end", "3"]
    assert second.split() == ["a", "-", "-"]
    assert [line.rstrip() for line in (head, first, second)] == [head, first, second]
    assert first.index("long") == second.index("-") == head.index("why")


def test_a_table_in_a_terminal_fits_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    print_rows(ROWS, ["name", "why", "count"], as_json=False)
    lines = re.sub("\033\\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 60
    assert any("─" in line for line in lines)
