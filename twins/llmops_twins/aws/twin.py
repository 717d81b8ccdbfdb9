"""The twin of an AWS account: registries of services and judges, time and state. It knows no particular service."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from llmops_kit.core.twins import TWIN_ACCOUNT
from llmops_twins.aws.calls import ApiCall, Deferred
from llmops_twins.core.fleet.fleet import Fleet
from llmops_twins.core.twin import BaseTwin, TwinSettings

AWS_TRANSITION_SECONDS = 300.0
"""Approximate duration of an endpoint's status transition on AWS, to which `TwinSettings.pace` corresponds."""
log = logging.getLogger("llmops_twins.aws")
Handler = Callable[[ApiCall], Mapping[str, Any] | Deferred | None]
Hook = Callable[[ApiCall, dict[str, Any]], None]
Tagged = tuple[str, dict[str, str]]
"""ARN and tags of a resource."""
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class AccountTwin(BaseTwin):
    """An account. Services and judges register their handlers, checks and hooks here.

    Handlers, hooks, ticks and actions run one at a time, with `lock` held. `state` holds the twin's own documents; it
    is saved together with moto's backends.
    """

    fleet: Fleet
    """The containers of endpoints: set by `sagemaker.fleet.fleet.install`."""
    transition_seconds = AWS_TRANSITION_SECONDS

    def __init__(self, home: Path, settings: TwinSettings | None = None, region: str = "us-east-1") -> None:
        super().__init__(home, settings)
        self.account = TWIN_ACCOUNT
        self.region = region
        self.clearers: list[Callable[[], None]] = []  # called before a reset drops the state
        self.judges: list[Callable[[ApiCall], None]] = []
        self.judge_of_roles: Callable[..., str | None] | None = None
        self.judge_of_calls: Callable[..., str | None] | None = None
        self.judge_of_services: Callable[..., bool] | None = None
        self.judge_of_policies: Callable[..., str | None] | None = None
        self.tag_sources: list[Callable[[AccountTwin], list[Tagged]]] = []
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._hooks: dict[tuple[str, str], list[Hook]] = {}
        self._checks: dict[tuple[str, str], list[Callable[[ApiCall], None]]] = {}
        self._mends: dict[tuple[str, str], list[Hook]] = {}
        self._routes: list[tuple[re.Pattern[str], Wsgi]] = []

    def implement(self, service: str, operation: str, handler: Handler) -> None:
        """Registers `handler` for an operation instead of moto; its dict is serialised by the service's model. It
        returns NotImplemented to leave a call to moto, and Deferred to work without the lock.
        """
        self._handlers[service, operation] = handler

    def route(self, prefix: str, app: Wsgi) -> None:
        """Registers `app` for all requests whose path begins with `prefix` ("/v2/"; `*` stands for one segment),
        instead of any service. Permissions are not checked, the body is unread, and the lock is not held.
        """
        self._routes.append((re.compile(re.escape(prefix).replace(r"\*", "[^/]+")), app))

    def after(self, service: str, operation: str, hook: Hook) -> None:
        """Registers `hook`, called with the call and its parsed answer after moto or a handler has succeeded."""
        self._hooks.setdefault((service, operation), []).append(hook)

    def before(self, service: str, operation: str, check: Callable[[ApiCall], None]) -> None:
        """Registers `check`, called after the judges and before moto or a handler; it raises AwsApiError to refuse."""
        self._checks.setdefault((service, operation), []).append(check)

    def mend(self, service: str, operation: str, hook: Hook) -> None:
        """Registers `hook` like `after`; the client receives the answer as changed by the hook."""
        self._mends.setdefault((service, operation), []).append(hook)

    def may(
        self,
        role_arn: str,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
        *,
        service: str = "sagemaker.amazonaws.com",
    ) -> str | None:
        """Returns why the platform may not perform an action under a role; None if it may."""
        if self.judge_of_roles is None or self.settings.judge == "off":
            return None
        return self.judge_of_roles(role_arn, action, resource, dict(context or {}), service=service)

    def may_call(self, role_arn: str, call: ApiCall, *, service: str, source_arn: str = "") -> str | None:
        """Returns why a service (such as EventBridge Scheduler) may not make this call under a role; None if it may."""
        if self.judge_of_calls is None or self.settings.judge == "off":
            return None
        return self.judge_of_calls(role_arn, call, service=service, source_arn=source_arn)

    def tagged(self) -> list[Tagged]:
        """Returns all tagged resources of the twin's own services, without those of SageMaker and moto."""
        return [found for source in self.tag_sources for found in source(self)]

    def reset(self) -> None:
        """Drops everything: moto's backends and the twin's own documents."""
        with self.lock:
            self._clear()
            self.seed()

    def take_over(self, load: Callable[[], object]) -> None:
        """Replaces the state by that of a snapshot (see BaseTwin)."""
        self._clear()
        load()
        self.tell()

    def _clear(self) -> None:
        from moto.core.base_backend import BackendDict

        for clear in self.clearers:
            clear()
        BackendDict.reset()
        self.state.clear()

    def handler(self, service: str, operation: str) -> Handler | None:
        """Returns the handler that answers an operation instead of moto."""
        return self._handlers.get((service, operation))

    def routed(self, path: str) -> Wsgi | None:
        """Returns the application that answers a path instead of any service."""
        return next((app for prefix, app in self._routes if prefix.match(path)), None)

    def answer_at_once(self, call: ApiCall) -> dict[str, Any] | None:
        """Returns the answer of the twin's own handler to an internal call; None if the operation has none.

        Raises:
            AwsApiError: the service refuses.
            TypeError: the handler returns Deferred, which only client requests support.
        """
        handler = self.handler(call.service, call.operation)
        if handler is None:
            return None
        answered = handler(call)
        if isinstance(answered, Deferred):
            raise TypeError(f"{call.service}:{call.operation} does not answer at once")
        return dict(answered or {})

    def checks(self, service: str, operation: str) -> list[Callable[[ApiCall], None]]:
        """Returns the checks of an operation in the order of registration; each raises to refuse the call."""
        return self._checks.get((service, operation), [])

    def mends(self, service: str, operation: str) -> list[Hook]:
        """Returns the hooks that change an operation's answers."""
        return self._mends.get((service, operation), [])

    def hooks(self, service: str, operation: str) -> list[Hook]:
        """Returns the hooks that observe an operation's answers."""
        return self._hooks.get((service, operation), [])
