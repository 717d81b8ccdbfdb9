from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from llmops_kit.core.errors import KitError
from llmops_kit.core.rollout import (
    Counts,
    Limits,
    Owner,
    RolloutOutcome,
    RolloutVerdict,
    Step,
    WatchedRollout,
    roll,
    steps,
    verdict,
)

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
        (Counts(100, 30), Counts(900, 9), "30 of its 100 requests failed (9 of 900 of the old version's)"),
        (Counts(3, 3), Counts(27, 0), "3 of its 3 requests failed"),
        (Counts(latency_seconds=2.5), Counts(), "takes 2.5 s or longer (2.0 s is the limit)"),
        (Counts(1000, 0, latency_seconds=2.5), Counts(1000, 0, 1.0), "takes 2.5 s or longer (2.0 s is the limit)"),
        (Counts(quality=0.5), Counts(quality=1.0), "answers 50% of its golden prompts"),
    ],
)
def test_a_worse_version_is_found_with_the_reason(new: Counts, old: Counts, said: str) -> None:
    found = verdict(new, old, LIMITS)
    assert found.outcome is RolloutOutcome.WORSE
    assert said in found.reason


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (Counts(300, 3), Counts(2700, 27)),
        (Counts(3000, 600), Counts(27_000, 5400)),  # the old one fails as often: a caller's fault, or the network's
        (Counts(300, 0, latency_seconds=2.5), Counts(2700, 0, latency_seconds=3.0)),
        (Counts(300, 0, quality=1.0), Counts(2700, 0)),
    ],
)
def test_a_version_that_does_as_well_is_not_worse(new: Counts, old: Counts) -> None:
    assert verdict(new, old, LIMITS).outcome is RolloutOutcome.NOT_WORSE


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (Counts(), Counts()),
        (Counts(5, 1), Counts(45, 0)),  # 20 %, which a version with 1 % has in 5 of 100 rollouts of this size
        (Counts(1, 1), Counts()),
        (Counts(50, 50), Counts()),  # the old one may fail as often
        (Counts(10, 0), Counts(90, 0)),
        (Counts(100, 6), Counts(900, 9)),
    ],
)
def test_few_requests_decide_nothing(new: Counts, old: Counts) -> None:
    found = verdict(new, old, LIMITS)
    assert found.outcome is RolloutOutcome.LITTLE_EVIDENCE
    assert f"{new.errors} of its {new.requests} requests failed" in found.reason


def test_where_the_old_version_gets_no_more_requests_and_had_none_the_limit_alone_counts() -> None:
    assert verdict(Counts(3, 3), Counts(), LIMITS, alone=True) == RolloutVerdict(
        RolloutOutcome.WORSE, "3 of its 3 requests failed"
    )
    assert verdict(Counts(300, 0), Counts(), LIMITS, alone=True).outcome is RolloutOutcome.NOT_WORSE
    assert verdict(Counts(3, 3), Counts(3, 3), LIMITS, alone=True).outcome is RolloutOutcome.LITTLE_EVIDENCE
    slower = Counts(latency_seconds=3.0)
    assert verdict(Counts(latency_seconds=2.5), slower, LIMITS, alone=True).outcome is RolloutOutcome.LITTLE_EVIDENCE


def test_what_has_no_limit_is_not_judged() -> None:
    unknown = Counts(latency_seconds=99.0, quality=0.0)
    assert verdict(unknown, Counts(), Limits(0.05)).outcome is RolloutOutcome.LITTLE_EVIDENCE


def outcomes(seed: int, new: float, old: float, per_look: float, canary: float = 0.1) -> Iterator[list[RolloutOutcome]]:
    """Yields the outcomes of 30 looks at each of 500 rollouts.

    Args:
        seed: of the random numbers.
        new: error rate of the new version.
        old: error rate of the old version.
        per_look: requests that the new version gets between two looks, on average.
        canary: its share of the requests.
    """
    random = np.random.default_rng(seed)
    for _ in range(500):
        counts = []
        for rate, mean in ((new, per_look), (old, per_look * (1 - canary) / canary)):
            requests = random.poisson(mean, 30)
            counts.append((requests.cumsum(), random.binomial(requests, rate).cumsum()))
        (n, k), (m, j) = counts
        yield [verdict(Counts(int(n[i]), int(k[i])), Counts(int(m[i]), int(j[i])), LIMITS).outcome for i in range(30)]


@pytest.mark.parametrize("per_look", [0.5, 2, 10, 50])
def test_equal_versions_are_rolled_back_in_less_than_one_of_a_hundred_rollouts(per_look: float) -> None:
    found = list(outcomes(37, 0.01, 0.01, per_look))
    assert sum(RolloutOutcome.WORSE in rollout for rollout in found) < 5
    if per_look >= 10:
        assert sum(rollout[-1] is RolloutOutcome.NOT_WORSE for rollout in found) > 400


def test_a_version_at_the_limit_is_seldom_found_either() -> None:
    found = list(outcomes(5, 0.06, 0.01, 20, canary=0.5))
    assert sum(RolloutOutcome.WORSE in rollout for rollout in found) <= 5
    assert sum(RolloutOutcome.NOT_WORSE in rollout for rollout in found) <= 25


def test_a_version_that_is_worse_is_found() -> None:
    assert sum(RolloutOutcome.WORSE in rollout for rollout in outcomes(6, 0.3, 0.01, 10)) > 490


class _World:
    """A clock that stands until somebody sleeps, and what was done at which time."""

    def __init__(self) -> None:
        self.now, self.done, self.lines = 0.0, list[tuple[float, int]](), list[str]()

    def run(self, plan: tuple[Step, ...], look: Callable[[], RolloutOutcome], **settings: Any) -> RolloutOutcome | None:
        found = roll(
            plan,
            settings=WatchedRollout(**settings),
            shift=self.shift,
            look=lambda: RolloutVerdict(look(), "1 of 9"),
            say=self.lines.append,
            clock=lambda: self.now,
            sleep=self.sleep,
        )
        return found.outcome if found else None

    def shift(self, step: Step) -> None:
        self.done.append((self.now, step.share))

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def well() -> RolloutOutcome:
    return RolloutOutcome.NOT_WORSE


def unclear() -> RolloutOutcome:
    return RolloutOutcome.LITTLE_EVIDENCE


def test_each_step_has_its_time() -> None:
    world = _World()
    assert world.run((Step(10, 60), Step(100, 30)), well) is None
    assert world.done == [(0.0, 10), (60.0, 100)]
    assert world.now == 90.0
    assert world.lines == []


def test_a_worse_version_ends_it_at_once() -> None:
    world = _World()
    found = world.run((Step(10, 60), Step(100, 60)), lambda: RolloutOutcome.WORSE if world.now > 20 else well())
    assert found is RolloutOutcome.WORSE
    assert world.done == [(0.0, 10)]
    assert world.now < 30


def test_a_step_without_time_is_looked_at_once() -> None:
    world = _World()
    found = world.run((Step(50, 0), Step(100, 0)), lambda: well() if len(world.done) == 1 else RolloutOutcome.WORSE)
    assert found is RolloutOutcome.WORSE
    assert world.now == 0.0


def test_a_step_is_watched_longer_until_there_is_evidence() -> None:
    world = _World()
    found = world.run((Step(10, 60), Step(100, 60)), lambda: well() if world.now > 100 else unclear())
    assert found is None
    assert world.lines == ["not enough evidence: 1 of 9; watched for up to 60 s more"]
    assert [share for _, share in world.done] == [10, 100]
    assert 100 < world.done[1][0] < 110, "no longer than that takes"


def test_a_version_that_turns_out_worse_later_goes() -> None:
    world = _World()
    assert (
        world.run((Step(10, 60),), lambda: RolloutOutcome.WORSE if world.now > 150 else unclear())
        is RolloutOutcome.WORSE
    )
    assert 150 < world.now < 170


@pytest.mark.parametrize("extra", [0, 1, 3])
def test_all_steps_share_the_extra_bakes_and_then_the_policy_decides(extra: int) -> None:
    world = _World()
    assert world.run((Step(25, 60), Step(50, 60), Step(100, 60)), unclear, extra_bakes=extra) is None
    assert world.done == [(0.0, 25), (60.0 + 60 * extra, 50), (120.0 + 60 * extra, 100)]
    assert world.now == 180.0 + 60 * extra, "in the last step there is nothing to compare with"
    assert [line for line in world.lines if line.startswith("warning: not enough evidence: 1 of 9; ")] == (
        ["warning: not enough evidence: 1 of 9; `on_inconclusive: promote` continues anyway"] * 2
    )
    world = _World()
    found = world.run((Step(25, 60), Step(100, 60)), unclear, extra_bakes=extra, on_inconclusive="roll_back")
    assert found is RolloutOutcome.LITTLE_EVIDENCE
    assert (world.done, world.now) == ([(0.0, 25)], 60.0 + 60 * extra)


def test_an_owner_is_written_as_it_is_read() -> None:
    owner = Owner("chatbot-3-0a1b2c3d", "up", datetime(2026, 12, 31, 18, 0, 5, tzinfo=UTC))
    assert Owner.parse(str(owner)) == owner
    assert Owner.parse("") is None
    assert Owner.parse("blue by up until tomorrow") is None
