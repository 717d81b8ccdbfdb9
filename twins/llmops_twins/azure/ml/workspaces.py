"""Workspaces: required resources, the managed network, and soft deletion, which blocks a name for 14 days.

https://learn.microsoft.com/rest/api/azureml/workspaces
https://learn.microsoft.com/azure/machine-learning/concept-soft-delete

Unsure (70 %): the rules are the reference's, which names no codes; code and words are assumed.
"""

import uuid

from llmops_twins.azure.arm import operations
from llmops_twins.azure.ml import datastores
from llmops_twins.azure.ml.ml_bodies import WORKSPACES, judged
from llmops_twins.azure.ml.ml_documents import stamp, with_identity
from llmops_twins.azure.ml.running import needs
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document, Reply
from llmops_twins.azure.protocol.kinds import RESULT, ResourceKind, SoftDelete
from llmops_twins.azure.twin import TenantTwin

SECONDS = 60.0
PATIENCE_SECONDS = 300.0
"""How long a new workspace waits until the roles of its identity take effect."""
_RETRY_SECONDS = 15.0
NETWORK_SECONDS = 1800.0
"""Approximate duration of provisioning a managed network on Azure."""
_NEEDED = ("storageAccount", "keyVault")
_FIXED = ("storageAccount", "keyVault", "hbiWorkspace")
_NETWORK, _SETTLE = "machinelearning.network", "machinelearning.workspace"


def install(twin: TenantTwin) -> None:
    """Registers the kind and its actions."""
    twin.kind(
        ResourceKind(
            WORKSPACES,
            put=_put,
            begun=lambda twin, document: twin.later(twin.scaled(SECONDS), _SETTLE, document["id"], SECONDS),
            done=_done,
            name=r"[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}",
            seconds=SECONDS,
            accepted=("PUT", "PATCH"),
            polled=dict.fromkeys(("PUT", "PATCH", "DELETE"), RESULT),
            open_ended=True,
            location=True,
            soft_delete=SoftDelete(
                14,
                purge="forceToPurge",
                message="Soft-deleted workspace exists. Please purge or recover it. https://aka.ms/wsoftdelete",
                code="BadRequest",
            ),
        )
    )
    twin.action_named(_NETWORK, lambda workspace_id: _network_ready(twin, workspace_id))
    twin.action_named(_SETTLE, lambda workspace_id, waited: _settle(twin, workspace_id, waited))
    twin.action(WORKSPACES, "listKeys", _list_keys)
    twin.action(WORKSPACES, "provisionManagedNetwork", _provision_network)


def require_network(twin: TenantTwin, workspace: Document) -> None:
    """Refuses a deployment before the workspace's managed network is provisioned.

    Raises:
        ArmError: 400 WorkspaceManagedNetworkNotReady.
    """
    network = workspace["properties"]["managedNetwork"]
    if network["isolationMode"] != "Disabled" and network["status"]["status"] != "Active":
        raise ArmError(
            400,
            "WorkspaceManagedNetworkNotReady",
            f"The managed network of workspace {workspace['name']} is not provisioned yet. Provision it before you "
            "create an online deployment: https://aka.ms/azureml-managed-network",
        )


def _put(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = judged("Workspace", call.method, call.body)
    properties = body["properties"]
    if body.get("kind") not in (None, "Default"):
        raise ArmError(400, "UserError", f"Workspaces of kind {body['kind']} are not on this twin.", "kind")
    body["kind"] = "Default"
    _check_dependencies(twin, properties)
    _check_identity(body)
    if there:
        _check_fixed(there, body)
    with_identity(twin, call, body, there)
    before = there["properties"] if there else {}
    properties["workspaceId"] = before.get("workspaceId") or str(uuid.uuid4())
    properties["tenantId"] = twin.tenant
    properties["discoveryUrl"] = f"{twin.url}/discovery"
    properties["mlFlowTrackingUri"] = f"{twin.url.replace('https:', 'azureml:')}/mlflow/v1.0{call.id}"
    properties.setdefault("friendlyName", call.id.rpartition("/")[2])
    properties.setdefault("publicNetworkAccess", "Enabled")
    properties.setdefault("hbiWorkspace", before.get("hbiWorkspace", False))
    properties["managedNetwork"] = _network(properties.get("managedNetwork"), before.get("managedNetwork"))
    body.setdefault("sku", {"name": "Basic", "tier": "Basic"})
    return stamp(call, there, body)


def _check_dependencies(twin: TenantTwin, properties: Document) -> None:
    missing = [name for name in _NEEDED if not properties.get(name)]
    if missing:
        message = f"Missing dependent resources in workspace json: {', '.join(missing)}"
        raise ArmError(400, "BadRequest", message, f"properties.{missing[0]}")
    for name, type_ in needs.OWN.items():
        found = twin.find(properties[name]) if properties.get(name) else None
        if properties.get(name) and (found is None or found["type"].lower() != type_.lower()):
            message = f"The resource {properties[name]} was not found, or is not of type {type_}."
            raise ArmError(400, "BadRequest", message, f"properties.{name}")


def _check_identity(body: Document) -> None:
    identity, primary = body.get("identity"), body["properties"].get("primaryUserAssignedIdentity")
    if not identity or identity["type"] == "None":
        raise ArmError(400, "BadRequest", "A workspace needs a managed identity.", "identity")
    given = {each.lower() for each in identity.get("userAssignedIdentities") or {}}
    if identity["type"] == "UserAssigned" and not primary:
        message = "primaryUserAssignedIdentity is required for a workspace with user-assigned identities only."
        raise ArmError(400, "BadRequest", message, "properties.primaryUserAssignedIdentity")
    if primary and primary.lower() not in given:
        message = "primaryUserAssignedIdentity is not one of the workspace's user-assigned identities."
        raise ArmError(400, "BadRequest", message, "properties.primaryUserAssignedIdentity")


def _check_fixed(there: Document, body: Document) -> None:
    for name in _FIXED:
        old, new = there["properties"].get(name), body["properties"].get(name, there["properties"].get(name))
        if str(old).lower() != str(new).lower():
            message = f"{name} of a workspace can't be changed after it was created."
            raise ArmError(400, "BadRequest", message, f"properties.{name}")


def _network(wanted: Document | None, before: Document | None) -> Document:
    network = {"isolationMode": "Disabled", **(before or {}), **(wanted or {})}
    if before and before["isolationMode"] != "Disabled" and network["isolationMode"] == "Disabled":
        message = "The isolation of a managed network can't be disabled once it was enabled."
        raise ArmError(400, "BadRequest", message, "properties.managedNetwork.isolationMode")
    network["status"] = (before or {}).get("status") or {"status": "Inactive", "sparkReady": False}
    return network


def _settle(twin: TenantTwin, workspace_id: str, waited: float) -> None:
    """Ends the creation of a workspace: succeeds if its identity has the required permissions, else retries until
    PATIENCE_SECONDS have passed, then fails.
    """
    document = twin.find(workspace_id)
    if document is None or operations.running(twin, workspace_id) is None:
        return
    failure = needs.of_workspace(twin, document)
    if failure is None:
        operations.succeed(twin, workspace_id)
    elif waited >= PATIENCE_SECONDS:
        operations.fail(twin, workspace_id, failure.code, failure.message)
    else:
        twin.later(twin.scaled(_RETRY_SECONDS), _SETTLE, workspace_id, waited + _RETRY_SECONDS)


def _done(twin: TenantTwin, document: Document) -> None:
    properties = document["properties"]
    if properties["managedNetwork"]["isolationMode"] != "Disabled" and properties.get("provisionNetworkNow"):
        _network_ready(twin, document["id"])
    if not twin.children(document["id"], datastores.TYPE):
        datastores.make_defaults(twin, document)


def _provision_network(twin: TenantTwin, call: ArmCall, document: Document) -> Reply:
    if document["properties"]["managedNetwork"]["isolationMode"] == "Disabled":
        raise ArmError(400, "BadRequest", "The workspace has no managed network: its isolation mode is Disabled.")
    operation = operations.begin(twin, call, NETWORK_SECONDS, "POST", _NETWORK)
    return Reply(202, None, operations.headers(twin, operation))


def _network_ready(twin: TenantTwin, workspace_id: str) -> None:
    document = twin.find(workspace_id)
    if document:
        document["properties"]["managedNetwork"]["status"] = {"status": "Active", "sparkReady": False}
        twin.keep(document)


def _list_keys(twin: TenantTwin, call: ArmCall, document: Document) -> Reply:
    return Reply(200, {"userStorageResourceId": document["properties"]["storageAccount"]})
