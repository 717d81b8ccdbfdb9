"""An Azure ML workspace on a twin whose hosts listen: its storage, an identity with rights, and what runs on it."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmops_twins.azure.blobs import blobs
from llmops_twins.azure.entra import principals, tokens
from llmops_twins.azure.main_port import ManagerApp
from llmops_twins.azure.protocol.calls import Document, Principal
from llmops_twins.azure.runner import Runner
from llmops_twins.azure.services import authorization
from twins.tests.support.azure_hosts import LOCATION, Hosts, running_hosts

VERSION = "2025-12-01"
ACCOUNT = "kitdata"
_STORAGE, _IDENTITY = "2024-01-01", "2024-11-30"
_ENDED = ("Completed", "Failed", "Canceled")


class Ml:
    """Workspace `kit` with datastores store and work, and an identity that reads the first and writes the second."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts, self.twin, self.arm = hosts, hosts.twin, hosts.arm
        self.group = self.arm.group("rg", LOCATION)
        self.account = self._made(
            "Microsoft.Storage/storageAccounts/" + ACCOUNT,
            _STORAGE,
            {"location": LOCATION, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": {}},
        )
        for container in ("store", "work"):
            self.arm.put(f"{self.account}/blobServices/default/containers/{container}", _STORAGE, {})
        self.identity = self._made(
            "Microsoft.ManagedIdentity/userAssignedIdentities/worker", _IDENTITY, {"location": LOCATION}
        )
        properties = self.arm.get(self.identity, _IDENTITY).body["properties"]
        self.principal, self.client_id = properties["principalId"], properties["clientId"]
        vault = self._known("Microsoft.KeyVault/vaults/kv")
        self.registry = self._known("Microsoft.ContainerRegistry/registries/kit")
        self.id = self._made(
            "Microsoft.MachineLearningServices/workspaces/kit",
            VERSION,
            {
                "location": LOCATION,
                "identity": {"type": "SystemAssigned"},
                "properties": {
                    "storageAccount": self.account,
                    "keyVault": vault,
                    "containerRegistry": self.registry,
                },
            },
        )
        for name in ("store", "work"):
            store = {"datastoreType": "AzureBlob", "accountName": ACCOUNT, "containerName": name}
            self.put(f"/datastores/{name}", {"properties": {**store, "credentials": {"credentialsType": "None"}}})
        self.allow("AcrPull", self.registry)
        self.allow("Storage Blob Data Reader", self.container("store"))
        self.allow("Storage Blob Data Contributor", self.container("work"))
        self.logging = self.allow("Storage Blob Data Contributor", self.container("azureml"))

    def _made(self, path: str, version: str, body: Document) -> str:
        resource_id = f"{self.group}/providers/{path}"
        answer = self.arm.put(resource_id, version, body)
        assert answer.status in (200, 201, 202), answer.body
        self._settled(resource_id, version)
        return resource_id

    def _known(self, path: str) -> str:
        """A resource that is only named here."""
        resource_id = f"{self.group}/providers/{path}"
        document = {"id": resource_id, "location": LOCATION, "properties": {"provisioningState": "Succeeded"}}
        self.twin.keep(document)
        return resource_id

    def _settled(self, resource_id: str, version: str) -> Document:
        def state() -> Document | None:
            found = self.arm.get(resource_id, version)
            there = found.status == 200 and found.body["properties"].get("provisioningState", "Succeeded")
            return found.body if there in ("Succeeded", "Failed") else None

        return wait(state, 120)

    @property
    def running(self) -> Runner:
        """What runs on the twin."""
        assert isinstance(self.twin.running, Runner)
        return self.twin.running

    def found(self, path: str) -> Document:
        """A document below the workspace, with the twin's own members."""
        document = self.twin.find(self.id + path)
        assert document
        return document

    def container(self, name: str) -> str:
        """A container's id."""
        return f"{self.account}/blobServices/default/containers/{name}"

    def allow(self, role: str, scope: str) -> Document:
        """Give the identity a role."""
        with self.twin.lock:
            return authorization.assign(self.twin, self.principal, role, scope)

    def write(self, container: str, **files: str) -> None:
        """Put blobs; `__` stands for a slash in their names."""
        for name, text in files.items():
            blobs.write(self.twin, ACCOUNT, container, name.replace("__", "/"), text.encode())

    def read(self, container: str, prefix: str) -> dict[str, str]:
        """The blobs below a folder, by their path in it."""
        names = [blob.name for blob in blobs.list_blobs(self.twin, ACCOUNT, container, prefix + "/")]
        return {n[len(prefix) + 1 :]: blobs.read(self.twin, ACCOUNT, container, n).decode() for n in names}

    def put(self, path: str, body: Document) -> Document:
        """PUT something below the workspace, and wait for its end."""
        answer = self.arm.put(self.id + path, VERSION, body)
        assert answer.status in (200, 201, 202), answer.body
        return self._settled(self.id + path, VERSION)

    def get(self, path: str) -> Document:
        """A document below the workspace."""
        return self.arm.get(self.id + path, VERSION).body

    def environment(self, name: str, image: str, scoring: str = "/", ready: str = "/ping") -> str:
        """An environment version with an image, and its id."""
        routes = {"liveness": ready, "readiness": ready, "scoring": scoring}
        inference = {f"{each}Route": {"path": path, "port": 8080} for each, path in routes.items()}
        body = {"properties": {"image": image, "inferenceConfig": inference}}
        return self.put(f"/environments/{name}/versions/1", body)["id"]

    # -- endpoints

    def endpoint(self, name: str, **properties: Any) -> Document:
        """Put an endpoint with the identity."""
        identity = {"type": "UserAssigned", "userAssignedIdentities": {self.identity: {}}}
        given = {"authMode": "AADToken", **properties}
        return self.put(f"/onlineEndpoints/{name}", {"location": LOCATION, "identity": identity, "properties": given})

    def deployment(self, endpoint: str, name: str, environment: str, capacity: int = 1, **properties: Any) -> Document:
        """Put a deployment, and wait for its end."""
        given = {"endpointComputeType": "Managed", "environmentId": environment, "instanceType": "Standard_DS3_v2"}
        settings = {"maxConcurrentRequestsPerInstance": 8, "requestTimeout": "PT30S"}
        return self.put(
            f"/onlineEndpoints/{endpoint}/deployments/{name}",
            {
                "location": LOCATION,
                "sku": {"name": "Default", "capacity": capacity},
                "properties": {**given, "requestSettings": settings, **properties},
            },
        )

    def token(self, audience: str = tokens.ML[0], caller: Principal = principals.OWNER) -> str:
        """A token of the owner, or of another."""
        return tokens.issue(self.twin, caller, audience)

    def ask(
        self, endpoint: str, path: str = "/", body: bytes | None = b"version", token: str | None = None, **headers: str
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers of a request to an endpoint's host; names of headers have _ for -."""
        base = self.running.scoring_url(f"{self.id}/onlineEndpoints/{endpoint}")
        sent = {"Authorization": f"Bearer {self.token() if token is None else token}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return fetch(base + path, body, sent, self.hosts.context())

    # -- jobs

    def cluster(self, name: str = "cpu", nodes: int = 2, **properties: Any) -> str:
        """A cluster that has the identity."""
        inner = {"vmSize": "Standard_DS3_v2", "scaleSettings": {"minNodeCount": 0, "maxNodeCount": nodes}}
        identity = {"type": "UserAssigned", "userAssignedIdentities": {self.identity: {}}}
        body = {"computeType": "AmlCompute", "properties": inner | properties}
        self.put(f"/computes/{name}", {"location": LOCATION, "identity": identity, "properties": body})
        return f"{self.id}/computes/{name}"

    def begin(self, name: str, environment: str, command: str, cluster: str = "cpu", **properties: Any) -> str:
        """Put a job, and its name."""
        given = {
            "jobType": "Command",
            "command": command,
            "environmentId": environment,
            "computeId": f"{self.id}/computes/{cluster}",
        }
        answer = self.arm.put(f"{self.id}/jobs/{name}", VERSION, {"properties": {**given, **properties}})
        assert answer.status in (200, 201), answer.body
        return name

    def status(self, job: str) -> str:
        """A job's."""
        return self.get(f"/jobs/{job}")["properties"]["status"]

    def until(self, job: str, *statuses: str) -> str:
        """Wait until a job has one of these statuses, or has ended."""
        return wait(lambda: found if (found := self.status(job)) in (*statuses, *_ENDED) else None, 120)

    def details(self, job: str) -> Document:
        """What the run history says of a job."""
        headers = {"Authorization": f"Bearer {self.token(tokens.MANAGEMENT[0])}"}
        url = f"{self.twin.url}/history/v1.0{self.id}/runs/{job}/details"
        return json.loads(fetch(url, None, headers, self.hosts.context())[1])

    def log(self, job: str, name: str = "user_logs/std_log.txt") -> str:
        """What a job wrote."""
        return fetch(self.details(job)["logFiles"][name], None, {}, self.hosts.context())[1].decode()


@contextmanager
def running_ml(home: Path, **settings: Any) -> Iterator[Ml]:
    """A workspace of a twin in this process, whose containers run."""
    quotas = {"Standard DSv2 Family Cluster Dedicated vCPUs": 1000, "Total Cluster Dedicated Regional vCPUs": 1000}
    with running_hosts(home, **{"containers": "run", "pace": 0.1, "quotas": quotas, **settings}) as hosts:
        assert hosts.twin.listen
        hosts.twin.listen("main", ManagerApp(hosts.twin), True)
        yield Ml(hosts)


def fetch(
    url: str, body: bytes | None, headers: Mapping[str, str], context: ssl.SSLContext
) -> tuple[int, bytes, Mapping[str, str]]:
    """Status, body and headers of an answer, whatever it is."""
    request = urllib.request.Request(url, body, dict(headers), method="GET" if body is None else "POST")
    try:
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read(), dict(e.headers)


def wait(found: Callable[[], Any], seconds: float = 120) -> Any:
    """What is found once something is."""
    deadline = time.monotonic() + seconds
    while (value := found()) is None:
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.03)
    return value
