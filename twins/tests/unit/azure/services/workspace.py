"""A twin with Azure ML's kinds and a workspace, called directly: what it needs beside are kinds that take anything."""

from pathlib import Path
from typing import Any

from llmops_twins.azure import ml_provider
from llmops_twins.azure.entra import principals
from llmops_twins.azure.ml import (
    assets,
    command_jobs,
    computes,
    datastores,
    deployments,
    endpoints,
    schedules,
    sizes,
    workspaces,
)
from llmops_twins.azure.ml.running.reports import NothingRuns
from llmops_twins.azure.protocol.calls import ArmCall, Document
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin
from tests.support.clouds.azure import Answer, Arm, local_twin

VERSION = "2025-12-01"
LOCATION = "westeurope"
IMAGE = "kit.azurecr.io/serving@sha256:" + "0" * 64
ROUTES = {
    f"{name}Route": {"path": path, "port": 8080}
    for name, path in (("liveness", "/health/live"), ("readiness", "/health/ready"), ("scoring", "/"))
}
_SERVICES = (
    ml_provider,
    assets,
    computes,
    datastores,
    deployments,
    endpoints,
    command_jobs,
    schedules,
    sizes,
    workspaces,
)
_STAND_INS = (
    "Microsoft.Storage/storageAccounts",
    "Microsoft.KeyVault/vaults",
    "Microsoft.ContainerRegistry/registries",
)


def stand_ins(twin: TenantTwin) -> None:
    """Add kinds that take any body."""
    for type_ in _STAND_INS:
        twin.kind(ResourceKind(type_, (VERSION,)))
    twin.kind(ResourceKind("Microsoft.ManagedIdentity/userAssignedIdentities", (VERSION,), put=_identity))


def _identity(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    made = principals.add(twin, call.id.rpartition("/")[2], "identity")
    return {"properties": {"principalId": made.object_id, "clientId": made.app_id}}


class Workspace:
    """Calls below a workspace `kit-ml`, with a storage account `data`, a vault, a registry and an identity `kit`."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.twin = local_twin(home, stand_ins, *(each.install for each in _SERVICES), **settings)
        self.twin.running = NothingRuns(self.twin)
        self.arm = Arm(self.twin)
        self.group = self.arm.group("rg", LOCATION)
        self.account = self._resource("Microsoft.Storage/storageAccounts/data")
        self.vault = self._resource("Microsoft.KeyVault/vaults/kv")
        self.registry = self._resource("Microsoft.ContainerRegistry/registries/kit", {"loginServer": "kit.azurecr.io"})
        self.identity = self._resource("Microsoft.ManagedIdentity/userAssignedIdentities/kit")
        self.id = f"{self.group}/providers/Microsoft.MachineLearningServices/workspaces/kit-ml"

    def _resource(self, path: str, properties: Document | None = None) -> str:
        resource_id = f"{self.group}/providers/{path}"
        assert self.arm.put(resource_id, VERSION, {"properties": properties or {}}).status in (200, 201)
        return resource_id

    @property
    def principal(self) -> str:
        """The object id of the identity."""
        found = self.twin.find(self.identity)
        assert found
        return found["properties"]["principalId"]

    def body(self, **properties: Any) -> Document:
        """A workspace's body."""
        needed = {"storageAccount": self.account, "keyVault": self.vault, "containerRegistry": self.registry}
        identity = {"type": "SystemAssigned"}
        return {"location": LOCATION, "identity": identity, "properties": {**needed, **properties}}

    def make(self, **properties: Any) -> "Workspace":
        """Make the workspace, with a datastore `store`, an environment `serving` and a model `chat`, versions 1."""
        self.ok("", self.body(**properties))
        store = {
            "datastoreType": "AzureBlob",
            "accountName": "data",
            "containerName": "store",
            "credentials": {"credentialsType": "None"},
        }
        self.ok("/datastores/store", {"properties": store})
        self.ok("/environments/serving/versions/1", {"properties": {"image": IMAGE, "inferenceConfig": ROUTES}})
        model = {"modelType": "custom_model", "modelUri": "azureml://datastores/store/paths/models/a"}
        self.ok("/models/chat/versions/1", {"properties": model})
        return self

    def put(self, path: str, body: Document) -> Answer:
        """PUT something below the workspace."""
        return self.arm.put(self.id + path, VERSION, body)

    def get(self, path: str = "", /, **query: str) -> Answer:
        return self.arm.get(self.id + path, VERSION, **query)

    def ok(self, path: str, body: Document) -> Document:
        """PUT it, wait until it has ended, and the document."""
        answer = self.put(path, body)
        assert answer.status in (200, 201) or (answer.status, path) == (202, ""), answer.body
        self.arm.pass_time()
        return self.get(path).body

    def refused(self, path: str, body: Document, words: str, status: int = 400) -> Answer:
        """PUT it, which must be refused in these words."""
        return self.is_refused(self.put(path, body), words, status)

    @staticmethod
    def is_refused(answer: Answer, words: str, status: int = 400) -> Answer:
        assert answer.status == status, answer.body
        assert words in answer.body["error"]["message"], answer.body
        return answer

    def post(self, path: str, body: Document | None = None) -> Answer:
        return self.arm.call("POST", self.id + path, VERSION, body)

    def endpoint(self, **properties: Any) -> Document:
        """The body of an endpoint."""
        identity = {"type": "UserAssigned", "userAssignedIdentities": {self.identity: {}}}
        return {"location": LOCATION, "identity": identity, "properties": {"authMode": "AADToken", **properties}}

    def deployment(self, capacity: int = 1, **properties: Any) -> Document:
        """The body of a deployment of model chat in environment serving."""
        given = {
            "endpointComputeType": "Managed",
            "environmentId": f"{self.id}/environments/serving/versions/1",
            "model": f"{self.id}/models/chat/versions/1",
            "instanceType": "Standard_DS3_v2",
        }
        sku = {"name": "Default", "capacity": capacity}
        return {"location": LOCATION, "sku": sku, "properties": {**given, **properties}}

    def cluster(self, nodes: int = 2, **properties: Any) -> Document:
        """The body of a cluster that has the identity."""
        scale = {"minNodeCount": 0, "maxNodeCount": nodes}
        inner = {"vmSize": "Standard_DS3_v2", "scaleSettings": scale, **properties}
        identity = {"type": "UserAssigned", "userAssignedIdentities": {self.identity: {}}}
        return {
            "location": LOCATION,
            "identity": identity,
            "properties": {"computeType": "AmlCompute", "properties": inner},
        }

    def job(self, **properties: Any) -> Document:
        """The body of a job on cluster cpu."""
        given = {
            "jobType": "Command",
            "command": "python -m llmops_kit.training train --folder spec=${{inputs.spec}} "
            "--folder model=${{outputs.model}}",
            "environmentId": f"{self.id}/environments/serving/versions/1",
            "computeId": f"{self.id}/computes/cpu",
            "inputs": {"spec": {"jobInputType": "uri_folder", "uri": "azureml://datastores/store/paths/spec/"}},
            "outputs": {
                "model": {"jobOutputType": "uri_folder", "uri": "azureml://datastores/store/paths/runs/${{name}}/"}
            },
        }
        return {"properties": {**given, **properties}}
