"""Twins of Azure that run in processes of their own, spoken to by azure-core."""

import json
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RequestIdPolicy, RetryPolicy
from azure.core.polling import LROPoller
from azure.core.rest import HttpRequest, HttpResponse
from azure.identity import ClientSecretCredential, DefaultAzureCredential
from azure.mgmt.core import ARMPipelineClient
from azure.mgmt.core.polling.arm_polling import ARMPolling

from llmops_twins.azure import control
from llmops_twins.azure.entra import certificates
from tests.support.clouds.twin_keys import asked
from twins.tests.support.processes import TwinProcess, running

LOCATION = "westeurope"
GROUPS = "2024-03-01"
ML_VERSION = "2025-12-01"
MANAGEMENT = "https://management.azure.com/.default"


@dataclass
class Subscription(TwinProcess):
    """A running twin of an Azure subscription."""

    control = control

    def arm(self, credential: Any = None) -> "ArmClient":
        """A client of Resource Manager, as the owner unless another credential is given; within `entered`."""
        return ArmClient(self.info, credential or DefaultAzureCredential())

    def application(self, name: str) -> "Application":
        """An application without any role."""
        return Application(self, **self.admin("POST", "applications", {"name": name}))

    def admin(self, method: str, route: str, body: Any = None) -> Any:
        """One of the twin's own routes."""
        data = None if body is None else json.dumps(body).encode()
        request = asked(self.home, self.info.url, route, method, data)
        with urllib.request.urlopen(request, timeout=60, context=self.trust()) as answer:
            return json.loads(answer.read())

    def trust(self) -> ssl.SSLContext:
        """Of a client that knows the twin alone."""
        return certificates.client_context(self.home)


@dataclass(frozen=True)
class Application:
    """An application of the tenant, and its secret."""

    subscription: Subscription
    object_id: str
    client_id: str
    client_secret: str

    def credential(self) -> ClientSecretCredential:
        """As azure-identity has it; within `entered`."""
        tenant = self.subscription.info.tenant
        return ClientSecretCredential(tenant, self.client_id, self.client_secret, disable_instance_discovery=True)


class ArmClient:
    """azure-mgmt-core's own pipeline: retries, polling, verified TLS."""

    def __init__(self, info: control.AzureTwinInfo, credential: Any) -> None:
        self.url = info.url
        self.root = f"/subscriptions/{info.subscription}"
        policies = [
            RequestIdPolicy(),
            RetryPolicy(retry_backoff_factor=0.1),
            BearerTokenCredentialPolicy(credential, MANAGEMENT),
        ]
        self._client: ARMPipelineClient[Any, Any] = ARMPipelineClient(info.url, policies=policies)

    def send(self, method: str, path: str, version: str, body: Any = None, **query: str) -> HttpResponse:
        """One call, and its answer whatever its status."""
        return self._client.send_request(self._request(method, path, version, body, query))

    def change(self, method: str, path: str, version: str, body: Any = None, **query: str) -> Any:
        """A call that may take its time: polled to its end; the resource's document.

        Raises:
            HttpResponseError: it is refused, or it fails.
        """
        request = self._request(method, path, version, body, query)
        first: Any = self._client.send_request(request, _return_pipeline_response=True)
        first.http_response.raise_for_status()
        poller = LROPoller(self._client, first, lambda p: p.http_response, ARMPolling(timeout=0.1))
        answered = poller.result()
        return json.loads(answered.text()) if answered is not None and answered.text() else None

    def get(self, path: str, version: str = ML_VERSION) -> Any:
        """Returns a document. Raises: HttpResponseError: there is none."""
        answer = self.send("GET", path, version)
        answer.raise_for_status()
        return answer.json()

    def put(self, path: str, body: Any, version: str = ML_VERSION) -> Any:
        """Creates or replaces a resource, and returns its document. Raises: HttpResponseError."""
        return self.change("PUT", path, version, body)

    def delete(self, path: str, version: str = ML_VERSION) -> None:
        """Deletes a resource. Raises: HttpResponseError."""
        self.change("DELETE", path, version)

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def _request(self, method: str, path: str, version: str, body: Any, query: dict[str, str]) -> HttpRequest:
        url = self.url + path.replace("{sub}", self.root)
        return HttpRequest(method, url, params={"api-version": version, **query}, json=body)


@contextmanager
def running_twin(
    folder: Path, *, name: str = "twin", containers: str = "none", **options: Any
) -> Iterator[Subscription]:
    """A twin with its state in `folder`/`name`; ended afterwards. It runs no containers unless told to "run" them."""
    with running(Subscription, folder, name, containers, location=LOCATION, **options) as subscription:
        yield subscription
