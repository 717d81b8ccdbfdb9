"""Commands of earlier releases name the present one."""

import pytest
from typer.testing import CliRunner

from llmops_kit.cli.cli import app
from llmops_kit.cli.former_commands import FORMER, FormerCommandError
from tests.support.checkout import CHECKOUT
from tests.unit.docs.test_commands import problem


@pytest.mark.parametrize("rest", [[], ["chatbot", "--stack", "demo"], ["--help"]], ids=" ".join)
@pytest.mark.parametrize("former", FORMER)
def test_a_former_command_names_the_present_one_whatever_its_arguments(former: str, rest: list[str]) -> None:
    error = CliRunner().invoke(app, [*former.split(), *rest]).exception
    assert isinstance(error, FormerCommandError)
    assert error.what == f"`llmops {former}` is gone"
    assert error.fix == f"use `{FORMER[former]}` instead"
    assert error.exit_code == 2


def test_options_that_a_former_command_had_change_nothing() -> None:
    error = CliRunner().invoke(app, ["token", "chatbot", "--hours", "2", "--json"]).exception
    assert isinstance(error, FormerCommandError)


@pytest.mark.parametrize("present", FORMER.values())
def test_the_present_command_exists(present: str) -> None:
    program, *words = present.split()
    if program == "make":
        assert f"\n{words[0]}:" in (CHECKOUT / "Makefile").read_text()
    else:
        assert problem(words) == ""
