"""An operation on a resource: its inputs and state, and AWS's errors, reported and retried."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmops_twins.plugins.aws.rules import AwsTypeRules, rules
from llmops_twins.plugins.aws.session import AwsSession
from llmops_twins.plugins.plugin import PluginRequest, ProviderError

PATIENCE = 10.0
"""Seconds for which transient errors are retried; the real plugin allows two minutes, but a twin's time runs faster."""
FIRST_POLL, LAST_POLL = 0.05, 1.0
"""Seconds between polls of a status: first the shorter, increasing to the longer."""

Gone = Sequence[str]
"""Error codes, or beginnings of `Code: message`, that mean that a resource does not exist."""


class AwsError(ProviderError):
    """Error for a call that AWS refused, in the format of the SDK for Go, which the real plugin shows."""

    def __init__(self, service: str, operation: str, code: str, message: str, status: int, request: str) -> None:
        super().__init__(
            f"operation error {service}: {operation}, https response error StatusCode: {status}, "
            f"RequestID: {request}, api error {code}: {message}"
        )
        self.code = code
        self.message = message

    def is_one_of(self, kinds: Gone) -> bool:
        """Returns whether the error is one of these codes, or `Code: part of the message`."""
        for kind in kinds:
            code, _, text = kind.partition(": ")
            if code == self.code and (not text or text in self.message):
                return True
        return False


@dataclass
class ResourceOperation:
    """An operation on a resource of `type`. Properties are plain and known."""

    request: PluginRequest[AwsSession]
    id: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    """The wanted inputs (create, update)."""
    old_inputs: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    """The recorded state (read, update, delete)."""
    changed: frozenset[str] = frozenset()
    """Top-level properties that differ (update)."""

    @property
    def session(self) -> AwsSession:
        """The session of the provider that declared the resource: credentials, region, endpoints."""
        return self.request.session

    @property
    def rules(self) -> AwsTypeRules:
        """The rules of the resource's type, from Pulumi's schema."""
        return rules(self.request.type)

    @property
    def region(self) -> str:
        """Region of the resource: its own, else the provider's."""
        return self.inputs.get("region") or self.state.get("region") or self.session.region

    @property
    def properties(self) -> dict[str, Any]:
        """The state overlaid with the inputs, the id, and the values that every template may use."""
        known = {"account": self.session.account, "partition": self.session.partition, "region": self.region}
        return {**known, **self.state, **self.inputs, "id": self.id}

    def shape(self, service: str, operation: str, side: str = "input") -> Any:
        """Returns botocore's shape of an operation's input or output."""
        model = self.session.client(service, self.region).meta.service_model.operation_model(operation)
        return getattr(model, f"{side}_shape")

    def call(self, service: str, operation: str, /, retry: Gone = (), **parameters: Any) -> dict[str, Any]:
        """Calls the twin, retrying on errors in `retry`.

        Raises:
            AwsError: the twin refused the call.
            ProviderError: the twin can't be reached, or the parameters don't fit the service's model.
        """
        return self.patiently(lambda: self._call(service, operation, parameters), retry)

    def patiently(self, action: Callable[[], Any], retry: Gone, seconds: float = PATIENCE) -> Any:
        """Repeats a call while it raises one of the errors in `retry`, for at most this many seconds.

        Raises:
            AwsError: any other error, or the last one.
        """
        end = time.monotonic() + seconds
        pause = FIRST_POLL
        while True:
            try:
                return action()
            except AwsError as error:
                if not error.is_one_of(retry) or time.monotonic() > end:
                    raise
            pause = self.pause(pause)

    def wait(self, look: Callable[[], bool], seconds: float, what: str) -> None:
        """Polls until a condition holds.

        Raises:
            ProviderError: the condition does not hold in time, or the engine asks to stop.
        """
        end = time.monotonic() + (self.request.timeout or seconds)
        pause = FIRST_POLL
        while not look():
            if time.monotonic() > end:
                raise ProviderError(f"timeout while waiting for {what}")
            pause = self.pause(pause)

    def pause(self, seconds: float) -> float:
        """Sleeps, and returns the length of the next pause in seconds.

        Raises:
            ProviderError: the engine asks to stop, or is gone.
        """
        stopping: threading.Event = self.session.stopping
        if stopping.wait(seconds) or not self.request.active():
            raise ProviderError("context canceled")
        return min(seconds * 1.5, LAST_POLL)

    def _call(self, service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        from botocore import xform_name
        from botocore.exceptions import BotoCoreError, ClientError

        client = self.session.client(service, self.region)
        try:
            answer = getattr(client, xform_name(operation))(**parameters)
        except ClientError as error:
            told, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
            raise AwsError(
                client.meta.service_model.service_id,
                operation,
                told.get("Code", "Unknown"),
                told.get("Message", ""),
                meta.get("HTTPStatusCode", 0),
                meta.get("RequestId", ""),
            ) from None
        except BotoCoreError as error:
            raise ProviderError(
                f"operation error {client.meta.service_model.service_id}: {operation}, {error}"
            ) from None
        answer.pop("ResponseMetadata", None)
        return answer
