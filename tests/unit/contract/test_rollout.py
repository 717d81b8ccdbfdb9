from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from contract.errors import KitError
from contract.rollout import Counts, Limits, Owner, Step, roll, steps, verdict

LIMITS = Limits(error_rate=0.05, latency_seconds=2.0, quality=1.0)


def planned(strategy: str, **given: Any) -> list[int]:
    values = {"canary_percent": 10, "step_percent": 25, "bake_seconds": 30.0} | given
    return [step.share for step in steps(strategy, **values)]


def test_steps_end_with_everything_whatever_the_strategy() -> None:
    assert planned("all_at_once") == [100]
    assert planned("canary", canary_percent=5) == [5, 100]
    assert planned("linear") == [25, 50, 75, 100]
    assert planned("linear", step_percent=40) == [40, 80, 100]
    assert {step.seconds for step in steps("linear", canary_percent=1, step_percent=50, bake_seconds=7)} == {7}


def test_copies_come_first() -> None:
    found = steps("canary", canary_percent=5, step_percent=25, bake_seconds=30.0, mirror_percent=20)
    assert [(step.share, step.mirror, step.seconds) for step in found] == [(0, 20, 30), (5, 0, 30), (100, 0, 30)]


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(KitError, match="no strategy rolling"):
        planned("rolling")


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        (Counts(100, 6), Counts(100, 0), "6 of its 100 requests failed"),
        (Counts(100, 5), Counts(100, 0), ""),
        (Counts(100, 20), Counts(100, 18), ""),  # the old one fails as often: a caller's fault, or the network's
        (Counts(1, 1), Counts(), "1 of its 1 requests failed"),
        (Counts(latency_seconds=2.5), Counts(), "takes 2.5 s or longer (2.0 s is the limit)"),
        (Counts(latency_seconds=2.5), Counts(latency_seconds=3.0), ""),
        (Counts(quality=0.5), Counts(quality=1.0), "answers 50% of its golden prompts"),
        (Counts(quality=1.0), Counts(), ""),
        (Counts(), Counts(), ""),  # nobody asked anything: no reason to go back
    ],
)
def test_the_verdict_says_what_is_too_bad(new: Counts, old: Counts, said: str) -> None:
    found = verdict(new, old, LIMITS)
    assert said in found if said else found == ""


def test_what_has_no_limit_is_not_judged() -> None:
    assert verdict(Counts(latency_seconds=99.0, quality=0.0), Counts(), Limits(0.05)) == ""


class _World:
    """A clock that stands until somebody sleeps, and what was done at which time."""

    def __init__(self) -> None:
        self.now, self.done = 0.0, list[tuple[float, int]]()

    def run(self, plan: tuple[Step, ...], trouble: Callable[[], str]) -> str:
        return roll(plan, shift=self.shift, trouble=trouble, clock=lambda: self.now, sleep=self.sleep)

    def shift(self, step: Step) -> None:
        self.done.append((self.now, step.share))

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_each_step_has_its_time() -> None:
    world = _World()
    assert world.run((Step(10, 60), Step(100, 30)), lambda: "") == ""
    assert world.done == [(0.0, 10), (60.0, 100)]
    assert world.now == 90.0


def test_trouble_ends_it_at_once() -> None:
    world = _World()
    assert world.run((Step(10, 60), Step(100, 60)), lambda: "it is slow" if world.now > 20 else "") == "it is slow"
    assert world.done == [(0.0, 10)]
    assert world.now < 30


def test_a_step_without_time_is_looked_at_once() -> None:
    world = _World()
    assert world.run((Step(50, 0), Step(100, 0)), lambda: "" if len(world.done) == 1 else "it ended") == "it ended"
    assert world.now == 0.0


def test_an_owner_is_written_as_it_is_read() -> None:
    owner = Owner("chatbot-3-0a1b2c3d", "up", datetime(2026, 12, 31, 18, 0, 5, tzinfo=UTC))
    assert Owner.parse(str(owner)) == owner
    assert Owner.parse("") is None
    assert Owner.parse("blue by up until tomorrow") is None
