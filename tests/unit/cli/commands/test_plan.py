"""`llmops plan`, which plans alone and has `prices` below it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmops_kit.cli.cli import app
from llmops_kit.cli.commands.plan import _fields, _print
from llmops_kit.cli.images.due import DueImage
from llmops_kit.cli.plan.plan import Plan
from llmops_kit.core.errors import NotFoundError

WIDE = {"COLUMNS": "200"}


def test_plan_alone_plans_and_takes_a_stack(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["--cwd", str(tmp_path), "plan", "--stack", "dev", "--refresh"])
    assert isinstance(answer.exception, NotFoundError)
    assert answer.exception.what == "no Pulumi.yaml here or in a folder above"


def test_prices_need_no_project(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["--cwd", str(tmp_path), "plan", "prices", "show", "--region", "us-east-1"])
    assert answer.exit_code == 0
    assert "ml.m5.xlarge" in answer.output


def test_options_of_plan_before_prices_are_refused(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["--cwd", str(tmp_path), "plan", "--refresh", "prices", "show"], env=WIDE)
    assert answer.exit_code == 2
    assert "have no effect on `prices`" in answer.output


def test_images_that_up_builds_are_listed_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    images = [DueImage("serving", "source changed", pushed=True), DueImage("training", "missing", pushed=False)]
    made = Plan("dev", "aws", [], {}, images=images)
    _print(made)
    text = capsys.readouterr().out
    assert "image serving: source changed; `up` builds and pushes it first (--no-build: not)" in text
    assert "image training: missing; `up` builds it first (--no-build: not)" in text
    assert _fields(made)["images"][0] == {"name": "serving", "why": "source changed", "pushed": True}
