"""`llmops --help` fits on a screen and names every command that is not hidden."""

import os
import subprocess
import sys
from typing import Any

import pytest
import typer

from llmops_kit.cli.cli import app
from llmops_kit.cli.help_page import GROUPS

LINES = 40


def printed(*arguments: str, columns: int = 80) -> "subprocess.CompletedProcess[str]":
    environ = dict(os.environ, COLUMNS=str(columns), TERM="xterm")
    command = [sys.executable, "-m", "llmops_kit.cli", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("columns", [80, 120])
def test_it_fits_on_a_screen(columns: int) -> None:
    done = printed("--help", columns=columns)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= 80
    assert lines[5].split()[0] == "up"


def test_without_a_command_it_is_shown_too_with_the_code_of_a_wrong_command_line() -> None:
    done = printed()
    assert (done.returncode, done.stdout) == (2, printed("-h").stdout)


def test_it_names_each_command_that_is_not_hidden_once() -> None:
    command: Any = typer.main.get_command(app)
    shown = sorted(name for name, verb in command.commands.items() if not verb.hidden)
    assert sorted(name for commands in GROUPS.values() for name in commands) == shown


@pytest.mark.parametrize(
    "command", [["models", "import"], ["plan"], ["keys", "api", "issue"], ["twin", "aws", "serve"]]
)
def test_a_narrow_terminal_cuts_no_name_and_joins_no_examples(command: list[str]) -> None:
    verb: Any = typer.main.get_command(app)
    for name in command:
        verb = verb.commands[name]
    text = printed(*command, "--help", columns=60).stdout
    assert [option for each in verb.params for option in each.opts if option[0] == "-" and option not in text] == []
    examples = [line.split() for line in (verb.help or "").splitlines() if line.startswith("llmops ")]
    assert all(" ".join(example) in " ".join(text.split()) for example in examples)
    starts = [line for line in text.splitlines() if line.strip().startswith("llmops ")]
    assert len(starts) == len(examples)


def test_each_command_keeps_its_own_help() -> None:
    done = printed("status", "--help")
    assert done.returncode == 0
    assert "Usage: llmops status" in done.stdout or "status [OPTIONS]" in done.stdout
