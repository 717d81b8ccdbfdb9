"""Rolls out a new version in watched steps, with the same logic on every target.

A target splits the requests and provides metrics; this module has the steps, their duration and the limits. If a cloud
has its own rollouts (SageMaker's guardrails), they are used instead.
"""

import math
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Literal

from pydantic import Field

from llmops_kit.core.document import Part
from llmops_kit.core.errors import KitError
from llmops_kit.core.evidence import Tally, not_worse_evidence, worse_evidence

OWNER_TAG = "llmops:rollout"
"""Tag of an endpoint while a rollout owns its traffic: `<deployment> by <whom> until <time>`; see `Owner`."""
_OWNER = re.compile(r"(?P<deployment>\S+) by (?P<by>\S+) until (?P<until>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")
_SHORTEST_LOOK_S, _LONGEST_LOOK_S = 0.01, 10.0
_ALL = 100  # percent
_WORSE, _NOT_WORSE = math.log(100), math.log(20)
"""Evidence that decides: wrong in at most 1 % and 5 % of all rollouts, however often it is checked."""

MORE_EVIDENCE = (
    "let the new version get more requests: a higher `canary_percent`, a longer `bake_seconds` or more `extra_bakes`; "
    "or promote it without evidence: `on_inconclusive: promote`"
)
"""Fix for a rollout that was rolled back for lack of evidence."""


class WatchedRollout(Part):
    """Settings of a rollout that compares the new version with the old one, on any target."""

    strategy: str = "all_at_once"
    canary_percent: int = Field(default=10, ge=1, le=99, description="Percentage of requests that the canary gets.")
    bake_seconds: int = Field(
        default=30, ge=0, le=86_400, description="Seconds that each step is watched; 300 by default in a cloud."
    )
    extra_bakes: int = Field(
        default=2,
        ge=0,
        le=100,
        description="Maximum number of additional bakes, in all steps together, while a rollout's requests are not "
        "enough evidence for or against the new version (local, Azure).",
    )
    on_inconclusive: Literal["promote", "roll_back"] = Field(
        default="promote",
        description="Action if there is not enough evidence after all bakes: promote continues, with a warning (local, "
        "Azure).",
    )


@dataclass(frozen=True)
class Step:
    """Share of the requests that the new version gets, 0 to 100 percent, and how long it is watched with it."""

    share: int
    seconds: float
    mirror: int = 0
    """Percentage of the requests that the new version gets as copies; its answers to them are discarded."""

    @property
    def moves_all(self) -> bool:
        """Whether no request is left to the old version."""
        return self.share == _ALL


@dataclass(frozen=True)
class Counts:
    """Requests, errors and latency of a version in a period. None: unknown, which is no reason to roll back."""

    requests: int = 0
    errors: int = 0
    latency_seconds: float | None = None
    """90th percentile."""
    quality: float | None = None
    """Share of the golden prompts that were answered rightly when last asked, 0 to 1."""


class RolloutOutcome(StrEnum):
    """Result of a comparison of the new version with the old one."""

    WORSE = "worse"
    NOT_WORSE = "not worse"
    LITTLE_EVIDENCE = "not enough evidence"


@dataclass(frozen=True)
class RolloutVerdict:
    """RolloutOutcome of a comparison, and the numbers behind it in words."""

    outcome: RolloutOutcome
    reason: str


@dataclass(frozen=True)
class Limits:
    """Thresholds beyond which a rollout is rolled back."""

    error_rate: float
    """Above the old version's."""
    latency_seconds: float | None = None
    """If the old version is slower, its latency is the limit."""
    quality: float | None = None


@dataclass(frozen=True)
class Owner:
    """The rollout that owns the weights until `until`; its ownership ends then in any case."""

    deployment: str
    by: str
    until: datetime

    @classmethod
    def parse(cls, tag: str) -> "Owner | None":
        """Parses the tag; returns None if there is no owner in it."""
        match = _OWNER.fullmatch(tag)
        return cls(match["deployment"], match["by"], datetime.fromisoformat(match["until"])) if match else None

    def __str__(self) -> str:
        return f"{self.deployment} by {self.by} until {self.until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def steps(
    strategy: str, *, canary_percent: int, step_percent: int, bake_seconds: float, mirror_percent: int = 0
) -> tuple[Step, ...]:
    """Returns the steps of a strategy. The last one moves all traffic, watched while the old version still exists.

    Args:
        strategy: all_at_once, canary or linear.
        canary_percent: share of the canary.
        step_percent: percentage that each step of linear adds.
        bake_seconds: of each step.
        mirror_percent: share of the copies in a step before all others; 0: there is no such step.

    Raises:
        KitError: another strategy.
    """
    shares = {
        "all_at_once": list,
        "canary": lambda: [canary_percent],
        "linear": lambda: list(range(step_percent, 100, step_percent)),
    }
    if strategy not in shares:
        raise KitError(f"there is no strategy {strategy}", fix=f"write one of {', '.join(shares)}")
    first = (Step(0, bake_seconds, mirror_percent),) if mirror_percent else ()
    return (*first, *(Step(share, bake_seconds) for share in (*shares[strategy](), _ALL)))


def verdict(new: Counts, old: Counts, limits: Limits, *, alone: bool = False) -> RolloutVerdict:
    """Compares a new version with the old one, by all requests of the rollout so far.

    - worse: its latency or quality is beyond the limit, or its error rate is above the old version's by more than
      `limits.error_rate`. At most 1 % of the other versions are found worse by their errors, in all comparisons of a
      rollout together.
    - not worse: its error rate is above the old version's by less than `limits.error_rate`, if at all. At most 5 % of
      the other versions are found not worse.
    - not enough evidence: there are too few requests to show either.

    Args:
        new: counts of the new version.
        old: counts of the old version in the same period.
        limits: the thresholds.
        alone: the old version gets no more requests. If it had none, `limits.error_rate` itself is the limit.
    """
    compared = bool(old.requests) or not alone
    tally, other = Tally(new.requests, new.errors), Tally(old.requests, old.errors) if compared else None
    than = f" ({old.errors} of {old.requests} of the old version's)" if compared else ""
    failed = f"{new.errors} of its {new.requests} requests failed{than}"
    if worse_evidence(tally, other, limits.error_rate) >= _WORSE:
        return RolloutVerdict(RolloutOutcome.WORSE, failed)
    if new.latency_seconds is not None and limits.latency_seconds is not None:
        most = max(limits.latency_seconds, old.latency_seconds or 0.0)
        if new.latency_seconds > most:
            slow = f"a tenth of its requests takes {new.latency_seconds:.1f} s or longer ({most:.1f} s is the limit)"
            return RolloutVerdict(RolloutOutcome.WORSE, slow)
    if new.quality is not None and limits.quality is not None and new.quality < limits.quality:
        low = f"it answers {new.quality:.0%} of its golden prompts as expected ({limits.quality:.0%} is the limit)"
        return RolloutVerdict(RolloutOutcome.WORSE, low)
    clear = not_worse_evidence(tally, other, limits.error_rate) >= _NOT_WORSE
    return RolloutVerdict(RolloutOutcome.NOT_WORSE if clear else RolloutOutcome.LITTLE_EVIDENCE, failed)


def roll(
    plan: tuple[Step, ...],
    *,
    settings: WatchedRollout,
    shift: Callable[[Step], None],
    look: Callable[[], RolloutVerdict],
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    look_seconds: float = _LONGEST_LOOK_S,
) -> RolloutVerdict | None:
    """Runs the steps. The caller, which knows the previous shares, rolls back.

    A step that leaves requests to the old version is watched longer while there is not enough evidence, by at most
    `settings.extra_bakes` in all; then `settings.on_inconclusive` decides. The step that moves all requests lasts one
    bake, because no old version is left to compare with.

    Args:
        plan: from `steps`, or a part of them.
        settings: of the rollout.
        shift: gives the new version a step's share.
        look: compares the versions.
        say: receives a line for each extension, and the warning of a promotion without enough evidence.
        clock: seconds.
        sleep: waits seconds.
        look_seconds: maximum seconds between two comparisons.

    Returns:
        The verdict for which to roll back: worse, or not enough evidence; None: the new version takes over.
    """
    watch = partial(_bake, look=look, clock=clock, sleep=sleep, look_seconds=look_seconds)
    extra = settings.extra_bakes
    for step in plan:
        shift(step)
        found = watch(step, (RolloutOutcome.WORSE,))
        while found.outcome is RolloutOutcome.LITTLE_EVIDENCE and not step.moves_all and extra and step.seconds:
            extra -= 1
            say(f"{found.outcome}: {found.reason}; watched for up to {step.seconds:g} s more")
            found = watch(step, (RolloutOutcome.WORSE, RolloutOutcome.NOT_WORSE))
        if found.outcome is RolloutOutcome.WORSE:
            return found
        if found.outcome is RolloutOutcome.LITTLE_EVIDENCE and not step.moves_all:
            if settings.on_inconclusive == "roll_back":
                return found
            say(f"warning: {found.outcome}: {found.reason}; `on_inconclusive: promote` continues anyway")
    return None


def _bake(
    step: Step,
    ends: Collection[RolloutOutcome],
    *,
    look: Callable[[], RolloutVerdict],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    look_seconds: float,
) -> RolloutVerdict:
    """Watches a step for its time, or until one of the outcomes; returns the last verdict."""
    deadline = clock() + step.seconds
    while True:
        found = look()
        if found.outcome in ends or clock() >= deadline:
            return found
        sleep(max(_SHORTEST_LOOK_S, min(look_seconds, step.seconds / 10)))
