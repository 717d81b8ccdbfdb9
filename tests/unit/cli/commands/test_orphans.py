"""`llmops down --orphans` and the options that go with it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmops_kit.cli.cli import app


@pytest.mark.parametrize(
    ("options", "named", "why"),
    [
        (["--remove"], "--remove", "goes with --orphans"),
        (["--of", "old"], "--of", "goes with --orphans"),
        (["--orphans", "--yes"], "--yes", "with --remove alone"),
        (["--orphans", "--data", "old"], "--data", "with --remove alone"),
        (["--orphans", "--discard-runs"], "--discard-runs", "no effect with --orphans"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(
    tmp_path: Path, options: list[str], named: str, why: str
) -> None:
    answer = CliRunner().invoke(app, ["--cwd", str(tmp_path), "down", *options], env={"COLUMNS": "200"})
    assert answer.exit_code == 2
    assert named in answer.output
    assert why in answer.output
