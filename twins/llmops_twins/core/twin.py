"""The common part of all clouds' twins: a folder, settings, a lock, state, and time."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmops_twins.core import root

log = logging.getLogger("twins")


@dataclass(frozen=True)
class TwinSettings:
    """The settings of a twin. `judge`: "strict" evaluates permissions, "off" lets all known principals do everything.
    `pace`: seconds of a status transition here; every other time of the platform (bake, wait, time-out) is scaled by
    the same ratio. `quotas`: limits of this account, by the quota's name on the cloud; others have the twin's defaults.
    `containers`: "run" lets endpoints and jobs run their images; with "none" they only change their status over time.
    """

    judge: str = "strict"
    pace: float = 0.5
    quotas: Mapping[str, int] = field(default_factory=dict)
    containers: str = "run"


class BaseTwin:
    """State, settings and time. Ticks and actions run one at a time, with `lock` held.

    Creates the folder's root secret. `state` holds JSON-serialisable documents. Code that changes it outside a mutating
    call must call `changed()`.
    """

    transition_seconds: float = 300.0
    """Approximate duration of an endpoint's status transition on the cloud, to which `TwinSettings.pace`
    corresponds.
    """

    def __init__(self, home: Path, settings: TwinSettings | None = None) -> None:
        root.make(home)
        self.home = home
        self.settings = settings or TwinSettings()
        self.lock = threading.RLock()
        self.state: dict[str, Any] = {}
        self.unjudged: list[str] = []  # shown by `status` as not judged
        self.seeds: list[Callable[[], None]] = []  # called on an empty account, to create its initial contents
        self.closers: list[Callable[[], None]] = []  # called when the process ends
        self.describe: Callable[[], dict[str, Any]] = dict  # returns the process's part of `status`
        self.unkept: list[Callable[[], str]] = []  # each returns what a snapshot would lose; "" for nothing
        self.snapshot: Callable[[], None]  # set by `Keeper`
        self.restore: Callable[[], None]
        self.dirty = threading.Event()
        self.stale = threading.Event()
        self._seldom = threading.local()
        self._actions: dict[str, Callable[..., None]] = {}
        self._ticks: list[_Tick] = []
        self._wake = threading.Condition()
        self._clock: threading.Thread | None = None
        self._ended = False

    def every(self, seconds: float, tick: Callable[[], None]) -> None:
        """Calls `tick` at least once in this many seconds, in the background, with the lock held."""
        self._ticks.append(_Tick(seconds, tick))
        self._awake()

    def action_named(self, name: str, function: Callable[..., None]) -> None:
        """Registers a timer's action by name, so that the timer survives a restart."""
        self._actions[name] = function

    def run_named(self, name: str, *args: Any) -> None:
        self._actions[name](*args)

    def later(self, seconds: float, action_name: str, *args: Any) -> None:
        """Runs the action of that name once, after real seconds (see `scaled`); `args` must be JSON-serialisable."""
        with self.lock:
            timers = self.state.setdefault("timers", [])
            timers.append({"due": time.time() + seconds, "action": action_name, "args": list(args)})
            self.changed()
        self._awake()

    def scaled(self, cloud_seconds: float) -> float:
        """Returns the real seconds here that correspond to seconds on the cloud."""
        return cloud_seconds * self.settings.pace / self.transition_seconds

    def record(self, principal: str, action: str, resource: str, allowed: bool) -> None:
        """Records the permission that a call needed: `GET /_twin/recorded` returns each once, in order of first use."""
        with self.lock:
            recorded = self.state.setdefault("recorded", [])
            entry = [principal, action, resource, allowed]
            if entry not in recorded:
                recorded.append(entry)
                self.changed()

    def seed(self) -> None:
        """Adds the contents of a new account."""
        for seed in self.seeds:
            seed()
        self.changed()

    def reset(self) -> None:
        """Empties the account."""
        raise NotImplementedError

    def take_over(self, load: Callable[[], object]) -> None:
        """Replaces the state by the snapshot that `load` returns, with the lock held."""
        raise NotImplementedError

    def tell(self) -> None:
        """Calls every tick now, so that work for deleted documents ends."""
        for tick in self._ticks:
            self._guard(tick.function)
        self.changed()

    def changed(self) -> None:
        """Schedules a save of the state: soon, or later in a block of `seldom`."""
        (self.stale if getattr(self._seldom, "inside", False) else self.dirty).set()

    @contextmanager
    def seldom(self) -> Iterator[None]:
        """Marks this thread's changes in the block as high-churn state (counts and lines of containers), which is saved
        less often. A killed twin loses the last seconds of it.
        """
        self._seldom.inside = True
        try:
            yield
        finally:
            self._seldom.inside = False

    def set_settings(self, **values: Any) -> None:
        self.settings = replace(self.settings, **values)

    def start(self) -> None:
        self._clock = threading.Thread(target=self._run, name="clock", daemon=True)
        self._clock.start()

    def close(self) -> None:
        """Stops the clock and everything that judges and services started."""
        self._ended = True
        self._awake()
        if self._clock:
            self._clock.join()
        for closer in self.closers:
            closer()

    def _awake(self) -> None:
        with self._wake:
            self._wake.notify_all()

    def _run(self) -> None:
        while not self._ended:
            with self.lock:
                self.run_due()
                pause = self._until_next()
            with self._wake:
                if not self._ended:
                    self._wake.wait(pause)

    def run_due(self) -> None:
        now = time.time()
        due = [timer for timer in self.state.get("timers", []) if timer["due"] <= now]
        for timer in sorted(due, key=lambda timer: timer["due"]):
            self.state["timers"].remove(timer)
            self.changed()
            self._guard(self._actions[timer["action"]], *timer["args"])
        for tick in self._ticks:
            if tick.due <= time.monotonic():
                tick.due = time.monotonic() + tick.seconds
                self._guard(tick.function)

    def _until_next(self) -> float:
        timers = [timer["due"] - time.time() for timer in self.state.get("timers", [])]
        ticks = [tick.due - time.monotonic() for tick in self._ticks]
        return max(0.0, min([*timers, *ticks, 1.0]))

    def _guard(self, function: Callable[..., None], *args: Any) -> None:
        try:
            function(*args)
        except Exception:  # one failing tick must not stop the others
            log.exception("%s failed", getattr(function, "__qualname__", function))


@dataclass
class _Tick:
    seconds: float
    function: Callable[[], None]
    due: float = 0.0
