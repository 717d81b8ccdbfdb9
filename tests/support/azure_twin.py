"""A twin of an Azure subscription as a process of its own, its clients, and stacks on it."""

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

from tests.support.twin_keys import asked
from tests.support.twin_stacks import SERVING as SERVING
from tests.support.twin_stacks import TRAINING as TRAINING
from tests.support.twin_stacks import RunningTwin, TwinStack, running
from tests.support.twin_stacks import make_stack as make_stack
from twins.azure import control
from twins.azure.entra import certificates

LOCATION = "westeurope"
GROUPS = "2024-03-01"
MANAGEMENT = "https://management.azure.com/.default"


@dataclass
class Subscription(RunningTwin):
    """A running twin of an Azure subscription."""

    control = control

    def arm(self, credential: Any = None) -> "ArmClient":
        """A client of Resource Manager, as the owner unless another credential is given; within `entered`."""
        return ArmClient(self, credential or DefaultAzureCredential())

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

    def stack_settings(self) -> dict[str, Any]:
        return {"target": "azure", "azure": {"location": self.info.location}, **super().stack_settings()}


AzureStack = TwinStack[Subscription]


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

    def __init__(self, subscription: Subscription, credential: Any) -> None:
        self._url = subscription.info.url
        self.root = f"/subscriptions/{subscription.info.subscription}"
        policies = [
            RequestIdPolicy(),
            RetryPolicy(retry_backoff_factor=0.1),
            BearerTokenCredentialPolicy(credential, MANAGEMENT),
        ]
        self._client: ARMPipelineClient[Any, Any] = ARMPipelineClient(subscription.info.url, policies=policies)

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

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _request(self, method: str, path: str, version: str, body: Any, query: dict[str, str]) -> HttpRequest:
        url = self._url + path.replace("{sub}", self.root)
        return HttpRequest(method, url, params={"api-version": version, **query}, json=body)


@contextmanager
def running_twin(
    folder: Path, *, name: str = "twin", containers: str = "none", **options: Any
) -> Iterator[Subscription]:
    """A twin with its state in `folder`/`name`; ended afterwards. It runs no containers unless told to "run" them."""
    with running(Subscription, folder, name, containers, location=LOCATION, **options) as subscription:
        if containers == "none":
            subscription.environ |= trusted(subscription.home)
        yield subscription


def trusted(home: Path) -> dict[str, str]:
    """What lets a client trust the twin alone, when nothing has to be fetched from elsewhere.

    Reading the authorities of a machine too, for every connection, takes longer than most requests.
    """
    authority = str(certificates.make(home) / certificates.AUTHORITY)
    return dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), authority)
