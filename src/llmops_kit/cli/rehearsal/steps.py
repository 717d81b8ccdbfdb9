"""Steps of a rehearsal, and the evidence that each leaves."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from llmops_kit.core.errors import KitError, NotFoundError
from llmops_kit.core.validation import did_you_mean

Mark = Literal["real", "emulated", "simulated"]
MARKS: dict[Mark, str] = {
    "real": "on a real cloud, or where no cloud takes part",
    "emulated": "on a twin, with real programs and requests",
    "simulated": "as emulated, with an event that the rehearsal causes in the cloud's place",
}
State = Literal["passed", "skipped", "failed", "stopped", "not run"]
ENDED_WELL: tuple[State, ...] = ("passed", "skipped")


@dataclass(frozen=True)
class Evidence:
    """Evidence of a step, for the report.

    `facts` are the same in each run, and two runs are compared by them; `measured` vary. `skipped`: why the step has no
    meaning with this recipe.
    """

    said: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    skipped: str = ""


@dataclass(frozen=True)
class RehearsalStep:
    """A step. It can run again after a failure, and then resumes.

    `needs` are steps that must have passed.
    """

    id: str
    title: str
    proves: str
    mark: Mark
    run: Callable[[Any], Evidence]
    """Called with the Stage."""
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """A command that a step ran, as a user would type it; who: the role that it ran under."""

    words: str
    who: str
    seconds: float
    code: int


@dataclass(frozen=True)
class PermissionCheck:
    """A permission that a role asked for in a step, and whether it was allowed."""

    role: str
    action: str
    resource: str
    allowed: bool


@dataclass
class Result:
    """Result of a step. Times are in seconds; `began` counts from the start of the rehearsal."""

    step: RehearsalStep
    state: State = "not run"
    began: float = 0.0
    seconds: float = 0.0
    evidence: Evidence = field(default_factory=Evidence)
    error: KitError | None = None
    fault: str = ""
    commands: list[Command] = field(default_factory=list)
    accesses: list[PermissionCheck] = field(default_factory=list)


@dataclass(frozen=True)
class Request:
    """A request of the load: when it was sent (seconds from the start), its duration, and the response or error."""

    at: float
    seconds: float
    ok: bool
    words: str = ""


@dataclass
class Timeline:
    """Data for the plots over time, in seconds since the rehearsal began."""

    begun: float = field(default_factory=time.monotonic)
    begun_at: float = field(default_factory=time.time)
    """The same moment, in seconds since 1970."""
    marks: list[tuple[float, str]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    quality: list[tuple[float, float, str]] = field(default_factory=list)
    """Time of a server's check of its golden prompts, share of right answers, and its model's alias."""
    cost: list[tuple[float, float]] = field(default_factory=list)
    """Time, and dollars per hour from then on."""

    def begin(self) -> None:
        """Restarts the clock."""
        self.begun, self.begun_at = time.monotonic(), time.time()

    def now(self) -> float:
        return time.monotonic() - self.begun

    def mark(self, words: str) -> None:
        """Records that something happened now."""
        self.marks.append((self.now(), words))


def chosen(steps: Iterable[RehearsalStep], only: Iterable[str]) -> list[RehearsalStep]:
    """Returns the steps with these ids and all that they need, in order; all steps if no id is given.

    Raises:
        KitError: there is no such step.
    """
    known = {step.id: step for step in steps}
    wanted: set[str] = set()
    waiting = list(only)
    while waiting:
        name = waiting.pop()
        if name not in known:
            raise NotFoundError(
                f"there is no step {name}",
                where="--only",
                fix=did_you_mean(name, known) or f"the steps are {', '.join(known)}",
            )
        if name not in wanted:
            wanted.add(name)
            waiting += known[name].needs
    return [step for step in known.values() if step.id in wanted] if wanted else list(known.values())
