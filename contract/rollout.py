"""From an endpoint's old version to the new one, in steps that are watched: the same logic on every target.

A target says how requests are shared and what its metrics are; this says in which steps, how long, and what is too bad.
Where a cloud has a rollout of its own (SageMaker's guardrails), that one does it.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from contract.errors import KitError

OWNER_TAG = "llmops:rollout"
"""Tag of an endpoint while a rollout owns its traffic: `<deployment> by <whom> until <time>`; see `Owner`."""
_OWNER = re.compile(r"(?P<deployment>\S+) by (?P<by>\S+) until (?P<until>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")
_SHORTEST_LOOK_S, _LONGEST_LOOK_S = 0.01, 10.0


@dataclass(frozen=True)
class Step:
    """A share of the requests for the new version, 0 to 100 percent, and how long it must do well with it."""

    share: int
    seconds: float
    mirror: int = 0
    """Percent of the requests that it gets as copies; its answers to those go to nobody."""


@dataclass(frozen=True)
class Counts:
    """Requests, errors and latency of a version in a period. None: unknown, which is no reason to roll back."""

    requests: int = 0
    errors: int = 0
    latency_seconds: float | None = None
    """90th percentile."""
    quality: float | None = None
    """Share of the golden prompts that were answered rightly when last asked, 0 to 1."""

    @property
    def error_rate(self) -> float:
        """Share of the requests that failed, 0 to 1."""
        return self.errors / max(1, self.requests)


@dataclass(frozen=True)
class Limits:
    """Thresholds beyond which a rollout is rolled back."""

    error_rate: float
    """Above the old version's."""
    latency_seconds: float | None = None
    """Where the old version is slower itself, the old version's is the limit."""
    quality: float | None = None


@dataclass(frozen=True)
class Owner:
    """The rollout that owns the weights until `until`; after that nobody does, whatever became of it."""

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
        step_percent: what each step of linear adds.
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
    return (*first, *(Step(share, bake_seconds) for share in (*shares[strategy](), 100)))


def verdict(new: Counts, old: Counts, limits: Limits) -> str:
    """Returns why the new version must be rolled back; empty if it need not."""
    if new.errors and new.error_rate > old.error_rate + limits.error_rate:
        return (
            f"{new.errors} of its {new.requests} requests failed ({old.errors} of {old.requests} of the old variant's)"
        )
    if new.latency_seconds is not None and limits.latency_seconds is not None:
        most = max(limits.latency_seconds, old.latency_seconds or 0.0)
        if new.latency_seconds > most:
            return f"a tenth of its requests takes {new.latency_seconds:.1f} s or longer ({most:.1f} s is the limit)"
    if new.quality is not None and limits.quality is not None and new.quality < limits.quality:
        return f"it answers {new.quality:.0%} of its golden prompts as expected ({limits.quality:.0%} is the limit)"
    return ""


def roll(
    plan: tuple[Step, ...],
    *,
    shift: Callable[[Step], None],
    trouble: Callable[[], str],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    look_seconds: float = _LONGEST_LOOK_S,
) -> str:
    """Go through the steps. Going back is the caller's, who knows what was before.

    Args:
        plan: from `steps`, or a part of them.
        shift: gives the new version a step's share.
        trouble: looks; why the new version is too bad, or empty.
        clock: seconds.
        sleep: waits seconds.
        look_seconds: between two looks at most.

    Returns:
        Why the new version must go, as `trouble` said it; empty: all steps were done well.
    """
    for step in plan:
        shift(step)
        deadline = clock() + step.seconds
        while True:
            if reason := trouble():
                return reason
            if clock() >= deadline:
                break
            sleep(max(_SHORTEST_LOOK_S, min(look_seconds, step.seconds / 10)))
    return ""
