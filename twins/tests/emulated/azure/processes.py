"""A twin of Azure as a process, its clients' environment, and a workspace on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from azure.identity import DefaultAzureCredential

from llmops_kit.core.twins import TWIN_SUBSCRIPTION
from llmops_twins.azure import control
from llmops_twins.azure.entra.principals import OWNER_ID
from twins.tests.support.azure_processes import ArmClient

LOCATION = "westeurope"
GROUP = f"/subscriptions/{TWIN_SUBSCRIPTION}/resourceGroups/kit"
WORKSPACE = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/kit-ml"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/kitdata"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kit-vault"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/kit"
ROLES = f"/subscriptions/{TWIN_SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions"
CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"  # Storage Blob Data Contributor
STORE = {"datastoreType": "AzureBlob", "accountName": "kitdata", "containerName": "store"}


@contextmanager
def running(home: Path, **settings: Any) -> Iterator[ArmClient]:
    """Bring a folder's twin up, and speak to it as its `env` says; it is left running."""
    info = control.up(home, **settings)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in control.environment(home).items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        arm = ArmClient(info, DefaultAzureCredential())
        yield arm
        arm.close()


def make_workspace(arm: ArmClient, image: str) -> dict[str, str]:
    """A workspace with a datastore `store`, a cluster `cpu`, environments `training` and `serving` of an image, and an
    identity that may read and write blobs.

    Returns:
        `client_id` of the identity, and `blobs`, the URL of the account's host.
    """
    arm.put(GROUP, {"location": LOCATION}, "2024-03-01")
    storage = {"location": LOCATION, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": {}}
    account = arm.put(ACCOUNT, storage, "2024-01-01")
    arm.put(f"{ACCOUNT}/blobServices/default/containers/store", {"properties": {}}, "2024-01-01")
    identity = arm.put(IDENTITY, {"location": LOCATION}, "2023-01-31")["properties"]
    for number, principal in enumerate((OWNER_ID, identity["principalId"])):
        assign(arm, f"00000000-0000-0000-0000-{number:012}", principal)
    sku = {"family": "A", "name": "standard"}
    vault = {"tenantId": identity["tenantId"], "sku": sku, "enableRbacAuthorization": True}
    arm.put(VAULT, {"location": LOCATION, "properties": vault}, "2023-07-01")
    needed = {"storageAccount": ACCOUNT, "keyVault": VAULT}
    arm.put(WORKSPACE, {"location": LOCATION, "identity": {"type": "SystemAssigned"}, "properties": needed})
    arm.put(f"{WORKSPACE}/datastores/store", {"properties": {**STORE, "credentials": {"credentialsType": "None"}}})
    scale = {"minNodeCount": 0, "maxNodeCount": 1}
    cluster = {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_DS3_v2", "scaleSettings": scale}}
    arm.put(f"{WORKSPACE}/computes/cpu", {"location": LOCATION, "identity": assigned(), "properties": cluster})
    routes = {
        f"{name}Route": {"path": path, "port": 8080}
        for name, path in (("liveness", "/ping"), ("readiness", "/ping"), ("scoring", "/"))
    }
    arm.put(f"{WORKSPACE}/environments/training/versions/1", {"properties": {"image": image}})
    arm.put(f"{WORKSPACE}/environments/serving/versions/1", {"properties": {"image": image, "inferenceConfig": routes}})
    return {"client_id": identity["clientId"], "blobs": account["properties"]["primaryEndpoints"]["blob"]}


def assigned() -> dict[str, Any]:
    """The identity, as bodies name it."""
    return {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}}


def assign(arm: ArmClient, name: str, principal: str) -> str:
    """Let a principal read and write the account's blobs; the id of the assignment."""
    role = {
        "roleDefinitionId": f"{ROLES}/{CONTRIBUTOR}",
        "principalId": principal,
        "principalType": "ServicePrincipal",
    }
    id_ = f"{ACCOUNT}/providers/Microsoft.Authorization/roleAssignments/{name}"
    arm.put(id_, {"properties": role}, "2022-04-01")
    return id_
