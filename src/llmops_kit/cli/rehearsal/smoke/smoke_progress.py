"""Stores the progress of a smoke test after each step and each cost estimate, so that it resumes after any failure."""

import json
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from llmops_kit.cli.rehearsal.recipes import RECIPE
from llmops_kit.cli.rehearsal.report.report import document_of, result_of
from llmops_kit.cli.rehearsal.steps import RehearsalStep, Request, Result, Timeline
from llmops_kit.core.errors import KitError
from llmops_kit.local_runtime.files import write_atomic

_SCHEMA = "smoke-progress/1"
_HOUR = 3600


@dataclass
class Progress:
    """Progress of one smoke test. Times are seconds since 1970."""

    id: str
    """Name of its project, and part of the names of all resources that it creates."""
    account: str
    """The account's id after the cloud's term for it; the smoke test resumes only there."""
    region: str
    ends: float
    """When its time limit is reached."""
    begun: float = field(default_factory=time.time)
    usd: float = 0.0
    rate: float = 0.0
    """Dollars per hour, at the last estimate."""
    looked: float = field(default_factory=time.time)
    backend: str = ""
    secrets_provider: str = ""
    only: list[str] = field(default_factory=list)
    """Ids of the chosen steps, and of those that they need; empty: all."""
    recipe: str = RECIPE
    most_steps: int = 0
    """Optimizer steps that the recipe is shortened to; 0: it is not shortened."""
    before: list[str] | None = None
    """Resources of the account before the start; None: not known yet."""
    notes: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Id -> result of each step that passed, as in report.json."""
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    timeline: dict[str, Any] = field(default_factory=dict)
    stopped: bool = False
    """Whether its machines were stopped after a failure."""
    emptied: bool = False
    """Whether its stack is removed; then its states may be removed too."""
    ending: bool = False
    """Whether its take-down has begun; then no further steps run."""

    @classmethod
    def new(cls, account: str, region: str, ttl: timedelta) -> "Progress":
        """Creates the progress of a smoke test that begins now."""
        ends = (datetime.now(UTC) + ttl).timestamp()
        return cls(f"smoke-{secrets.token_hex(2)}", account, region, ends)

    def spent(self, now: float) -> float:
        """Returns the dollars spent by now, assuming that resources of the last estimate still exist."""
        return self.usd + self.rate * max(0.0, now - self.looked) / _HOUR

    def done(self, steps: Sequence[RehearsalStep]) -> dict[str, Result]:
        return {step.id: result_of(step, self.steps[step.id]) for step in steps if step.id in self.steps}

    def passed(self, result: Result) -> None:
        self.steps[result.step.id] = document_of(result)

    def restore(self, timeline: Timeline) -> None:
        """Restores a timeline, whose clock starts at the start of the smoke test."""
        timeline.begun, timeline.begun_at = time.monotonic() - (time.time() - self.begun), self.begun
        kept = self.timeline
        timeline.marks = [(at, words) for at, words in kept.get("marks", [])]
        timeline.requests = [Request(**each) for each in kept.get("requests", [])]
        timeline.quality = [(at, score, model) for at, score, model in kept.get("quality", [])]
        timeline.cost = [(at, rate) for at, rate in kept.get("cost", [])]

    def keep(self, timeline: Timeline) -> None:
        """Stores the timeline for the plots."""
        self.timeline = {k: v for k, v in asdict(timeline).items() if not k.startswith("begun")}


class Shelf:
    """Store of the progress of a cloud's smoke test, one at a time in a project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "progress.json"
        self._lock = threading.Lock()

    def load(self) -> Progress | None:
        """Returns the stored progress; None if there is no smoke test to continue.

        Raises:
            KitError: it can't be read.
        """
        try:
            fields = json.loads(self._path.read_text())
            if fields.pop("schema") != _SCHEMA:
                raise ValueError("another version of the kit wrote it")
            return Progress(**fields)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as e:
            fix = f"remove the resources with the tag llmops:smoke, then {self.folder}"
            raise KitError(f"the progress of the smoke test can't be read: {e}", where=str(self._path), fix=fix) from e

    def save(self, progress: Progress, change: Callable[[], object] = lambda: None) -> None:
        """Applies a change and stores the progress; safe for concurrent threads."""
        with self._lock:
            change()
            text = json.dumps({"schema": _SCHEMA, **asdict(progress)}, default=str)
            write_atomic(self._path, text + "\n")
