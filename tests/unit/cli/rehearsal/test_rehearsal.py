"""What is refused before anything is made."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from llmops_kit.cli.cli import app
from llmops_kit.cli.former_commands import FormerCommandError
from llmops_kit.cli.machines.prices import load_prices
from llmops_kit.cli.rehearsal.account import AccountWorld, parse_span
from llmops_kit.cli.rehearsal.clouds.aws import Aws
from llmops_kit.cli.rehearsal.cost_meter import Meter
from llmops_kit.cli.rehearsal.rehearsal import RehearsalOptions, rehearse
from llmops_kit.cli.rehearsal.steps import Timeline
from llmops_kit.cli.stacks.project import Project
from llmops_kit.core.errors import KitError


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"only": ["flood"]}, "there is no step flood"),
        ({"faults": ["flood"]}, "there is no fault flood"),
        ({"faults": ["throttle"], "only": ["plan"]}, "belongs to the step up, which is not selected"),
        ({"faults": ["silent", "capacity"]}, "silent belongs to the step serve too"),
        ({"without": [("root", "s3:PutObject")]}, "there is no role root"),
    ],
)
def test_what_can_not_be_meant_is_refused(tmp_path: Path, options: dict[str, Any], what: str) -> None:
    with pytest.raises(KitError, match=what):
        rehearse(Aws(), Project(tmp_path), RehearsalOptions(report=tmp_path / "report", **options), Console())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "minutes"), [("2h", 120), ("90m", 90), ("1h30m", 90)])
def test_a_span_of_time(text: str, minutes: int) -> None:
    assert parse_span(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["", "2", "2d", "0h"])
def test_no_span_of_time(text: str) -> None:
    with pytest.raises(KitError) as refused:
        parse_span(text)
    assert refused.value.where == "--ttl"


class _Counted(Meter):
    """Has counted already."""

    def __init__(self, usd: float, rate: float, unknown: set[str]) -> None:
        super().__init__(list, load_prices("us-east-1"), Timeline(), lambda _: True)
        self.usd, self.rate, self.unknown = usd, rate, unknown

    def look(self) -> None:
        pass


@pytest.mark.parametrize(
    ("meter", "ttl", "what"),
    [
        (_Counted(0.2, 0.4, set()), timedelta(hours=1), ""),
        (
            _Counted(0.95, 0.4, set()),
            timedelta(hours=1),
            r"about \$0.9500, and the next step might bring it to \$1.0500",
        ),
        (_Counted(0.0, 0.0, {"ml.x1.big"}), timedelta(hours=1), "the price of ml.x1.big is not known"),
        (_Counted(0.0, 0.0, set()), timedelta(hours=-1), "its time is over"),
    ],
)
def test_an_account_is_left_before_a_limit_is_passed(tmp_path: Path, meter: Meter, ttl: timedelta, what: str) -> None:
    world = AccountWorld(Aws(), Project(tmp_path), tmp_path / "world", 1.0, ttl, "smoke-1a2b")
    world.meter = meter
    if not what:
        world.check_limits()
        return
    with pytest.raises(KitError, match=what):
        world.check_limits()


def test_a_step_that_runs_is_ended_where_a_limit_is_reached(tmp_path: Path) -> None:
    world = AccountWorld(Aws(), Project(tmp_path), tmp_path / "world", 1.0, timedelta(hours=1), "smoke-1a2b")
    world.meter = _Counted(0.97, 0.4, set())
    world.watch()
    assert world.over is None
    world.meter = _Counted(0.99, 0.4, set())  # until all is gone it will be 1.01
    with pytest.raises(KeyboardInterrupt):
        world.watch()
    assert "it has cost about $0.99" in str(world.over)
    world.watch()


@pytest.mark.parametrize("words", [["--live"], ["--live", "--max-usd", "5", "--ttl", "2h", "--yes"], ["--ttl", "2h"]])
def test_an_account_is_for_the_smoke_test(words: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["--cwd", str(tmp_path), "rehearse", "aws", *words])
    assert isinstance(done.exception, FormerCommandError)
    assert done.exception.fix == "use `llmops smoke` instead"
