"""Commands of earlier releases name the present one."""

import pytest
import typer
from typer.testing import CliRunner

from llmops_kit.cli.cli import app
from llmops_kit.cli.former_commands import FORMER, replacement
from tests.support.checkout import CHECKOUT
from tests.unit.docs.test_commands import problem


@pytest.mark.parametrize("former", FORMER)
def test_a_former_command_ends_with_a_sentence_that_names_the_present_one(former: str) -> None:
    answer = CliRunner().invoke(app, [*former.split(), "chatbot", "--json"], env={"COLUMNS": "200"})
    assert answer.exit_code == 2
    assert f"`llmops {former}` is gone; use `{FORMER[former]}` instead." in answer.output


@pytest.mark.parametrize("present", FORMER.values())
def test_the_present_command_exists(present: str) -> None:
    program, *words = present.split()
    if program == "make":
        assert f"\n{words[0]}:" in (CHECKOUT / "Makefile").read_text()
    else:
        assert problem(words) == ""


def test_other_commands_are_not_taken_for_a_former_one() -> None:
    assert replacement(["down", "--orphans"]) == ""
    assert replacement([]) == ""


def test_completion_does_not_list_former_commands() -> None:
    assert FORMER.keys().isdisjoint(typer.main.get_command(app).commands)  # pyright: ignore[reportAttributeAccessIssue]
