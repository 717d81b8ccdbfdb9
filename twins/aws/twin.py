"""The twin of an AWS account as its services and judges see it: who answers which operation, time, own state."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from contract.twin import TWIN_ACCOUNT
from twins.aws.calls import Call, Deferred
from twins.aws.fleet import Fleet

AWS_TRANSITION_SECONDS = 300.0
"""What a status transition of an endpoint takes on AWS, about. `TwinSettings.pace` stands for this long."""
log = logging.getLogger("twins.aws")
Handler = Callable[[Call], Mapping[str, Any] | Deferred | None]
Hook = Callable[[Call, dict[str, Any]], None]
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True)
class TwinSettings:
    """`judge`: "strict" evaluates permissions, "off" lets all known principals do everything. `pace`: seconds that a
    status transition takes here; every other time of the platform (bake, wait, time-out) shrinks by the same ratio.
    `quotas`: limits of this account, by the quota's name ("ml.g5.xlarge for endpoint usage"); else the twin's own.
    `containers`: "run" lets endpoints and jobs run their images; with "none" they only change their status in time.
    """

    judge: str = "strict"
    pace: float = 0.5
    quotas: Mapping[str, int] = field(default_factory=dict)
    containers: str = "run"


class Twin:
    """What services and judges plug into.

    Handlers, hooks, ticks and actions run one at a time, with `lock` held. `state` holds documents of ours that JSON
    can carry; it is kept with moto's backends. Whoever changes state outside a mutating call says `changed()`.
    """

    def __init__(self, home: Path, settings: TwinSettings | None = None, region: str = "us-east-1") -> None:
        self.account = TWIN_ACCOUNT
        self.region = region
        self.home = home
        self.settings = settings or TwinSettings()
        self.lock = threading.RLock()
        self.fleet = Fleet(self)
        self.state: dict[str, Any] = {}
        self.judges: list[Callable[[Call], None]] = []
        self.unjudged: list[str] = []  # what `status` says that this twin does not judge
        self.seeds: list[Callable[[], None]] = []  # called on an empty account: what AWS has there from the start
        self.closers: list[Callable[[], None]] = []  # called when the process ends
        self.describe: Callable[[], dict[str, Any]] = dict  # what the process says of itself
        self.judge_of_roles: Callable[..., str | None] | None = None
        self.judge_of_calls: Callable[..., str | None] | None = None
        self.judge_of_services: Callable[..., bool] | None = None
        self.judge_of_policies: Callable[..., str | None] | None = None
        self.dirty = threading.Event()
        self.stale = threading.Event()
        self._seldom = threading.local()
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._hooks: dict[tuple[str, str], list[Hook]] = {}
        self._checks: dict[tuple[str, str], list[Callable[[Call], None]]] = {}
        self._mends: dict[tuple[str, str], list[Hook]] = {}
        self._routes: list[tuple[re.Pattern[str], Wsgi]] = []
        self._actions: dict[str, Callable[..., None]] = {}
        self._ticks: list[_Tick] = []
        self._wake = threading.Condition()
        self._clock: threading.Thread | None = None
        self._ended = False

    def implement(self, service: str, operation: str, handler: Handler) -> None:
        """Let `handler` answer an operation instead of moto; its dict is serialised by the service's model. What it
        answers with NotImplemented is moto's after all; what it answers with Deferred, is worked out without the lock.
        """
        self._handlers[service, operation] = handler

    def route(self, prefix: str, app: Wsgi) -> None:
        """Let `app` answer all requests whose path begins with `prefix` ("/v2/"; `*` stands for one segment), instead
        of any service. Nobody is asked whether the caller may, the body is not read yet, and the lock is not held.
        """
        self._routes.append((re.compile(re.escape(prefix).replace(r"\*", "[^/]+")), app))

    def after(self, service: str, operation: str, hook: Hook) -> None:
        """Call `hook` with the call and its parsed answer after moto, or a handler, has answered it with success."""
        self._hooks.setdefault((service, operation), []).append(hook)

    def before(self, service: str, operation: str, check: Callable[[Call], None]) -> None:
        """Call `check` after the judges and before moto, or a handler, answers; it raises ApiError to refuse."""
        self._checks.setdefault((service, operation), []).append(check)

    def mend(self, service: str, operation: str, hook: Hook) -> None:
        """Like `after`, and what `hook` changes in the parsed answer is what the client gets."""
        self._mends.setdefault((service, operation), []).append(hook)

    def every(self, seconds: float, tick: Callable[[], None]) -> None:
        """Call `tick` at least every so many seconds, in the background, with the lock held."""
        self._ticks.append(_Tick(seconds, tick))
        self._awake()

    def action(self, name: str, function: Callable[..., None]) -> None:
        """Name what a timer does, so that the timer survives a restart."""
        self._actions[name] = function

    def later(self, seconds: float, action_name: str, *args: Any) -> None:
        """Run the action of that name once, in so many real seconds (see `scaled`); `args` are JSON-able."""
        with self.lock:
            timers = self.state.setdefault("timers", [])
            timers.append({"due": time.time() + seconds, "action": action_name, "args": list(args)})
            self.changed()
        self._awake()

    def scaled(self, aws_seconds: float) -> float:
        """How long something takes here that takes so many seconds on AWS."""
        return aws_seconds * self.settings.pace / AWS_TRANSITION_SECONDS

    def may(
        self,
        role_arn: str,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
        *,
        service: str = "sagemaker.amazonaws.com",
    ) -> str | None:
        """May the platform do this under a role? None, or the reason of the denial."""
        if self.judge_of_roles is None or self.settings.judge == "off":
            return None
        return self.judge_of_roles(role_arn, action, resource, dict(context or {}), service=service)

    def may_call(self, role_arn: str, call: Call, *, service: str, source_arn: str = "") -> str | None:
        """May a service (EventBridge Scheduler, say) make this call under a role? None, or the reason of the denial."""
        if self.judge_of_calls is None or self.settings.judge == "off":
            return None
        return self.judge_of_calls(role_arn, call, service=service, source_arn=source_arn)

    def record(self, principal: str, action: str, resource: str, allowed: bool) -> None:
        """Remember what a call needed: `GET /_twin/recorded` answers each once, in order of first use."""
        with self.lock:
            recorded = self.state.setdefault("recorded", [])
            entry = [principal, action, resource, allowed]
            if entry not in recorded:
                recorded.append(entry)
                self.changed()

    def seed(self) -> None:
        """Bring an empty account to what it is on its first day."""
        for seed in self.seeds:
            seed()
        self.changed()

    def reset(self) -> None:
        """Drop everything: moto's backends and our own documents."""
        from moto.core.base_backend import BackendDict

        with self.lock:
            self.fleet.clear()
            BackendDict.reset()
            self.state.clear()
            self.seed()

    def changed(self) -> None:
        """Have the state written soon, or by and by in a block of `seldom`."""
        (self.stale if getattr(self._seldom, "inside", False) else self.dirty).set()

    @contextmanager
    def seldom(self) -> Iterator[None]:
        """What this thread changes inside is of the kind that never ends, and need not be written at once: counts and
        lines of containers. A killed twin loses what it has of the last seconds.
        """
        self._seldom.inside = True
        try:
            yield
        finally:
            self._seldom.inside = False

    def set_settings(self, **values: Any) -> None:
        """Change settings of the running twin."""
        self.settings = replace(self.settings, **values)

    def handler(self, service: str, operation: str) -> Handler | None:
        """Who answers an operation instead of moto."""
        return self._handlers.get((service, operation))

    def routed(self, path: str) -> Wsgi | None:
        """Who answers the requests of a path instead of any service."""
        return next((app for prefix, app in self._routes if prefix.match(path)), None)

    def answer_at_once(self, call: Call) -> dict[str, Any] | None:
        """What the twin's own handler answers to a call from inside; None when the operation has none.

        Raises:
            ApiError: as the service refuses.
            TypeError: its work is done without the lock, for clients alone.
        """
        handler = self.handler(call.service, call.operation)
        if handler is None:
            return None
        answered = handler(call)
        if isinstance(answered, Deferred):
            raise TypeError(f"{call.service}:{call.operation} does not answer at once")
        return dict(answered or {})

    def checks(self, service: str, operation: str) -> list[Callable[[Call], None]]:
        """Who may refuse an operation's calls."""
        return self._checks.get((service, operation), [])

    def mends(self, service: str, operation: str) -> list[Hook]:
        """Who changes an operation's answers."""
        return self._mends.get((service, operation), [])

    def hooks(self, service: str, operation: str) -> list[Hook]:
        """Who wants to know of an operation's answers."""
        return self._hooks.get((service, operation), [])

    def start(self) -> None:
        """Start the clock: timers and ticks."""
        self._clock = threading.Thread(target=self._run, name="clock", daemon=True)
        self._clock.start()

    def close(self) -> None:
        """Stop the clock and whatever judges started."""
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
                self._run_due()
                pause = self._until_next()
            with self._wake:
                if not self._ended:
                    self._wake.wait(pause)

    def _run_due(self) -> None:
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
        except Exception:  # one service's fault must not stop the others' time
            log.exception("%s failed", getattr(function, "__qualname__", function))


@dataclass
class _Tick:
    seconds: float
    function: Callable[[], None]
    due: float = 0.0
