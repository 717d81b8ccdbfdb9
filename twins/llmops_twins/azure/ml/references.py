"""Resolves references in bodies of Azure ML: assets, computes, and paths in datastores.

https://learn.microsoft.com/azure/machine-learning/how-to-access-data-interactive#uniform-resource-identifier-uri

Unsure (65 %): the rules are the reference's, which names no codes; code and words are assumed.
"""

import re
from dataclasses import dataclass

from llmops_twins.azure.ml.ml_bodies import WORKSPACES
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.twin import TenantTwin

_WORKSPACE = re.compile(r"(/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+/workspaces/[^/]+)(?:/.*)?", re.I)
_ASSET = re.compile(
    r"(?:azureml:)?(?P<workspace>/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+/workspaces/[^/]+)"
    r"/(?P<kind>models|environments|data|codes)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)/?",
    re.I,
)
_LOCATION = re.compile(
    r"azureml://locations/[^/]+/workspaces/(?P<guid>[^/]+)/(?P<kind>\w+)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)",
    re.I,
)
_SHORT = re.compile(r"azureml:(?P<name>[^/:@]+):(?P<version>[^/:@]+)")
_PATH = re.compile(
    r"azureml://(?:subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)/"
    r"(?:providers/Microsoft\.MachineLearningServices/)?workspaces/(?P<workspace>[^/]+)/)?"
    r"datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)",
    re.I,
)


@dataclass(frozen=True)
class DataPath:
    """A path in a datastore: its document, and the folder or file below its container ("" for all of it)."""

    datastore: Document
    path: str

    def container_id(self, twin: TenantTwin) -> str:
        """Returns the resource id of the blob container; "" for a datastore whose account is not on this twin."""
        properties = self.datastore["properties"]
        account = storage_account(twin, properties.get("accountName") or "")
        name = properties.get("containerName") or properties.get("filesystem") or ""
        return f"{account['id']}/blobServices/default/containers/{name}" if account else ""


def workspace_of(resource_id: str) -> str:
    """Returns the id of the workspace that a resource belongs to."""
    match = _WORKSPACE.fullmatch(resource_id)
    if not match:
        raise ValueError(f"{resource_id} lies in no workspace")
    return match[1]


def storage_account(twin: TenantTwin, name: str) -> Document | None:
    """Returns a storage account by its name, which is globally unique."""
    for document in twin.resources.values():
        if document["type"] == "Microsoft.Storage/storageAccounts" and document["name"].lower() == name.lower():
            return document
    return None


def asset(twin: TenantTwin, workspace_id: str, reference: str, kind: str, target: str) -> Document:
    """Returns the version of a reference: a resource id, `azureml:name:version` or `azureml://locations/…`.

    Args:
        twin: the subscription.
        workspace_id: the workspace in which the reference is used.
        reference: the reference.
        kind: "models", "environments", "data" or "codes".
        target: the body's member, for the error.

    Raises:
        ArmError: 400, it does not exist.
    """
    found = _asset(twin, workspace_id, reference, kind)
    if found is None:
        singular = {"models": "Model", "environments": "Environment", "data": "Data", "codes": "Code"}[kind]
        raise ArmError(400, "UserError", f"{singular} version not found: {reference}", target)
    return found


def _asset(twin: TenantTwin, workspace_id: str, reference: str, kind: str) -> Document | None:
    if match := _ASSET.fullmatch(reference):
        if match["kind"].lower() != kind:
            return None
        return twin.find(f"{match['workspace']}/{kind}/{match['name']}/versions/{match['version']}")
    match = _LOCATION.fullmatch(reference) or _SHORT.fullmatch(reference)
    if match is None:
        return None
    return twin.find(f"{workspace_id}/{kind}/{match['name']}/versions/{match['version']}")


def compute(twin: TenantTwin, workspace_id: str, reference: str, target: str) -> Document:
    """Returns a compute by its resource id, or by its name.

    Raises:
        ArmError: 400, it does not exist in the workspace.
    """
    found = twin.find(reference if reference.startswith("/") else f"{workspace_id}/computes/{reference}")
    if found is None or workspace_of(found["id"]).lower() != workspace_id.lower():
        name = reference.rpartition("/")[2]
        raise ArmError(400, "UserError", f"The specified compute target {name} was not found in the workspace.", target)
    return found


def data_path(twin: TenantTwin, workspace_id: str, uri: str, target: str) -> DataPath | None:
    """Returns the path of a datastore's azureml:// URI; None for other URIs.

    Raises:
        ArmError: 400, the datastore does not exist.
    """
    match = _PATH.fullmatch(uri)
    if not match:
        return None
    where = workspace_id
    if match["workspace"]:
        group = f"/subscriptions/{match['subscription']}/resourceGroups/{match['group']}"
        where = f"{group}/providers/{WORKSPACES}/{match['workspace']}"
    found = twin.find(f"{where}/datastores/{match['datastore']}")
    if found is None:
        raise ArmError(
            400, "UserError", f"The datastore {match['datastore']} was not found in workspace {where}.", target
        )
    return DataPath(found, match["path"].strip("/"))
