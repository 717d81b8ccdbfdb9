"""`--help` wraps at the width of the terminal: no ragged lines, no broken examples, no cut names."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from llmops_kit.cli.cli import app
from llmops_kit.cli.commands import unwrapped

_EXAMPLE = re.compile(r"llmops |source: |eval |BASE=|docker ")


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for name, each in getattr(command, "commands", {}).items():
        if not each.hidden:
            yield from _commands(each, (*words, name))


def _paragraphs(output: str) -> list[list[str]]:
    """Returns the lines of each paragraph between the usage and the first box."""
    text = output.partition("Usage:")[2].partition("╭")[0]
    blocks = re.split(r"\n\s*\n", text)[1:]
    return [[line.strip() for line in block.strip().split("\n")] for block in blocks if block.strip()]


def _ragged(lines: list[str], width: int) -> list[str]:
    """Returns the lines on which the first word of the next line would fit; one column on each side is padding."""
    return [line for line, after in pairwise(lines) if len(line) + 1 + len(after.split()[0]) <= width - 2]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_paragraphs_fill_the_lines_of_a_terminal_of_any_width(width: int) -> None:
    ragged: dict[str, list[str]] = {}
    for words in filter(None, _commands(typer.main.get_command(app))):
        output = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": str(width)}).stdout
        for lines in _paragraphs(output):
            if words and not _EXAMPLE.match(lines[0]) and (found := _ragged(lines, width)):
                ragged.setdefault(" ".join(words), []).extend(found)
    assert not ragged  # without the list of all commands, which has one line for each


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_first_page_wraps_its_sentences_under_each_other(width: int) -> None:
    page = CliRunner().invoke(app, ["--help"], env={"COLUMNS": str(width)}).stdout
    assert max(map(len, page.splitlines())) <= min(width, 80)
    if width == 60:
        assert "\n  train      Train, evaluate, sign and store a model version\n             from a recipe.\n" in page


def test_help_of_a_command_with_subcommands_describes_the_command() -> None:
    page = CliRunner().invoke(app, ["plan", "--help"], env={"COLUMNS": "120"}).stdout
    assert "Preview the next `up`" in page


def test_examples_and_names_of_options_fit_into_80_columns() -> None:
    for words in _commands(typer.main.get_command(app)):
        output = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"}).stdout
        for lines in _paragraphs(output):
            if _EXAMPLE.match(lines[0]):
                assert [line for line in lines if not _EXAMPLE.match(line)] == [], words
        assert not re.findall(r"│ [* ] *(--\S*…)", output), words


def test_only_examples_and_indented_paragraphs_keep_their_lines() -> None:
    text = """Do it.

    A sentence of
    two lines.

      a: 1
        b: 2

    llmops up
    llmops down
    """
    assert unwrapped(text) == "Do it.\n\nA sentence of two lines.\n\na: 1\n  b: 2\n\nllmops up\nllmops down"
