"""Calls to Azure Resource Manager over azure-core. Waits are short: a twin answers, not Azure."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import requests
from azure.core import PipelineClient
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.policies import HeadersPolicy, RequestIdPolicy, RetryPolicy, SansIOHTTPPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest
from azure.mgmt.core.polling.arm_polling import ARMPolling

from llmops_twins.plugins.plugin import ProviderError

_METHODS = frozenset({"GET", "PUT", "PATCH", "POST", "DELETE"})
_BUSY = ("AnotherOperationInProgress", "StorageAccountOperationInProgress")
"""Transient conflicts: https://github.com/pulumi/pulumi-azure-native/pull/4497."""


class ArmResponseError(ProviderError):
    """Error for a refusal by Resource Manager, in the plugin's words."""

    def __init__(self, response: Any) -> None:
        error: Any = HttpResponseError(response=response).error
        self.status: int = response.status_code
        self.code: str = response.headers.get("x-ms-error-code") or (error and error.code) or ""
        code = f' Code="{self.code}"' if self.code else ""
        super().__init__(f'Status={self.status}{code} Message="{(error and error.message) or response.text()}"')


class AcceptedError(ProviderError):
    """Error for a PUT that was accepted, but failed later: the resource exists in part."""


@dataclass
class Deadline:
    """The timeout of an operation (0: the plugin's default of two hours), and whether the engine still waits for it."""

    seconds: float = 0.0
    wanted: Callable[[], bool] = lambda: True

    def __post_init__(self) -> None:
        self._until = time.monotonic() + (self.seconds or 7200.0)

    def sleep(self, seconds: float) -> None:
        """Sleeps between two polls of an operation.

        Raises:
            ProviderError: the time is over, or the engine has canceled.
        """
        if time.monotonic() > self._until:
            raise ProviderError("operation timed out")
        if not self.wanted():
            raise ProviderError("context canceled")
        time.sleep(seconds)


class ManagerClient:
    """A client of a subscription's resources. `token` returns a bearer token for an audience; `audience` is Resource
    Manager's.
    """

    def __init__(
        self, url: str, token: Callable[[str], str], connections: requests.Session, audience: str, user_agent: str
    ) -> None:
        self.url, self.token, self.audience, self.user_agent = url, token, audience, user_agent
        headers = HeadersPolicy({"Accept": "application/json", "User-Agent": user_agent})
        retries = _Retries(retry_total=3, retry_backoff_factor=0.5)
        policies = [RequestIdPolicy(), headers, _Authorization(self), retries]
        self._client = PipelineClient(url, policies=policies, transport=transport(connections))

    def get(self, path: str, query: Mapping[str, str], **accepted: Any) -> Any:
        """Returns the body of a response, or {} if it has none.

        Raises:
            ArmResponseError: the request was refused.
        """
        found = self.send("GET", path, query, **accepted).http_response
        return found.json() if found.text() else {}

    def put(
        self, path: str, query: Mapping[str, str], body: Any, waits: bool, deadline: Deadline, method: str = "PUT"
    ) -> dict[str, Any]:
        """Creates or changes a resource, and returns its state at the end of the operation.

        Raises:
            ArmResponseError: the request was refused.
            AcceptedError: the request was accepted, but failed later.
        """
        answer = self.send(method, path, query, body, accepted=(200, 201, 202))
        if not waits and answer.http_response.status_code != 202:
            return answer.http_response.json() if answer.http_response.text() else {}
        try:
            return self._ended(answer, deadline) or {}
        except ProviderError as error:
            raise AcceptedError(str(error)) from None

    def delete(self, path: str, version: str, waits: bool, deadline: Deadline) -> None:
        """Deletes a resource; does nothing if it is missing.

        Raises:
            ArmResponseError: the request was refused.
        """
        try:
            answer = self.send("DELETE", path, {"api-version": version}, accepted=(200, 202, 204))
            if waits:
                self._ended(answer, deadline)
        except ArmResponseError as error:
            if error.status != 404:
                raise

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Any = None,
        accepted: tuple[int, ...] = (200,),
        audience: str = "",
    ) -> Any:
        """Returns the answer (a PipelineResponse) of a path or URL. Raises: ArmResponseError, ProviderError."""
        request = HttpRequest(method, self._client.format_url(path), params=query, json=body)
        options = {"audience": audience or self.audience, "retry_on_methods": _METHODS}
        try:
            answer: Any = self._client.send_request(request, _return_pipeline_response=True, **options)
        except AzureError as error:
            raise ProviderError(f'{method.capitalize()} "{request.url}": {error.message}') from None
        if answer.http_response.status_code not in accepted:
            raise ArmResponseError(answer.http_response)
        return answer

    def _ended(self, answer: Any, deadline: Deadline) -> Any:
        polling = _Polling(deadline, audience=self.audience)
        try:
            polling.initialize(self._client, answer, lambda found: found.http_response.json())
            polling.run()
        except HttpResponseError as error:
            raise ArmResponseError(error.response) from None
        except AzureError as error:
            raise ProviderError(error.message) from None
        return polling.resource()


def transport(connections: requests.Session) -> Any:
    """Returns azure-core's transport over given connections, regardless of this process's environment."""
    options = {"connection_verify": connections.verify, "use_env_settings": False}
    return RequestsTransport(session=connections, session_owner=False, **options)


class _Authorization(SansIOHTTPPolicy[Any, Any]):
    """Requests a token for each request, because one may expire while an operation is polled."""

    def __init__(self, arm: ManagerClient) -> None:
        self._arm = arm

    def on_request(self, request: Any) -> None:
        token = self._arm.token(request.context.options.pop("audience"))
        request.http_request.headers["Authorization"] = f"Bearer {token}"


class _Retries(RetryPolicy):
    def is_retry(self, settings: dict[str, Any], response: Any) -> bool:
        found = response.http_response
        busy = found.status_code == 409 and ArmResponseError(found).code in _BUSY
        return busy or super().is_retry(settings, response)


class _Polling(ARMPolling):
    def __init__(self, deadline: Deadline, **options: Any) -> None:
        super().__init__(**options)
        self._deadline, self._wait = deadline, 0.02

    def _sleep(self, delay: float) -> None:
        self._deadline.sleep(self._wait)
        self._wait = min(self._wait * 1.5, 0.5)
