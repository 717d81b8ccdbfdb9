"""Permissions that identities of endpoints and clusters need, checked when a deployment or job starts.

https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#authorization-error
"""

from collections.abc import Iterator
from dataclasses import dataclass

from llmops_twins.azure.ml import references
from llmops_twins.azure.ml.ml_documents import identities_of
from llmops_twins.azure.ml.running.reports import RunFailure
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.twin import TenantTwin

PULL = "Microsoft.ContainerRegistry/registries/pull/read"
READ = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
WRITE = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write"
SECRET = "Microsoft.KeyVault/vaults/secrets/setSecret/action"
ENCRYPT = tuple(f"Microsoft.KeyVault/vaults/keys/{word}" for word in ("read", "wrap/action", "unwrap/action"))
OWN = {
    "storageAccount": "Microsoft.Storage/storageAccounts",
    "keyVault": "Microsoft.KeyVault/vaults",
    "containerRegistry": "Microsoft.ContainerRegistry/registries",
    "applicationInsights": "Microsoft.Insights/components",
}
"""A workspace's associated resources: member of its body -> type."""
PROCESS = "process:"
ARTIFACTS = "workspaceartifactstore"
"""The default datastore of logs and artifacts:
https://learn.microsoft.com/azure/machine-learning/concept-data#default-datastore
"""


@dataclass(frozen=True)
class IdentityNeed:
    """An action on a scope, and its purpose."""

    action: str
    scope: str
    what: str
    data: bool = True


def of_deployment(twin: TenantTwin, deployment: Document) -> RunFailure | None:
    """Returns why a deployment can't start under its endpoint's identity; None if it can. A system-assigned identity
    gets its permissions automatically.
    """
    endpoint = twin.find(deployment["id"].rsplit("/deployments/", 1)[0])
    if endpoint is None:
        return None
    workspace = references.workspace_of(deployment["id"])
    try:
        wanted = list(_deployment_needs(twin, workspace, deployment["properties"]))
    except ArmError as e:
        return RunFailure("ResourceNotFound", e.message)
    for identity_id, identity in identities_of(endpoint).items():
        for need in wanted:
            if failure := _first_denied(twin, identity_id, identity["principalId"], [need]):
                # unsure (40 %): the troubleshooting page grants the account where this asks for one container
                return RunFailure("BadArgument", _message(need, failure))
    return None


def _message(need: IdentityNeed, denied: str) -> str:
    """Returns the message for a missing permission: for the registry as in
    https://github.com/MicrosoftDocs/azure-docs/issues/107890; for storage, the part before the colon is from the
    troubleshooting page.
    """
    if need.action == PULL:
        return "Endpoint identity does not have pull permission on the registry.."
    return f"Startup task failed due to authorization error: {denied}"


def of_workspace(twin: TenantTwin, workspace: Document) -> RunFailure | None:
    """Returns why a workspace can't use its resources under its primary user-assigned identity; None if it can. A
    system-assigned identity gets its permissions automatically.

    Unsure (50 %): the page asks for more (Contributor on the workspace, Key Vault Administrator); code and words are
    assumed.
    """
    properties = workspace["properties"]
    chosen = (properties.get("primaryUserAssignedIdentity") or "").lower()
    found = {each.lower(): identity["principalId"] for each, identity in identities_of(workspace).items()}
    wanted = list(_workspace_needs(properties)) if chosen in found else []
    failure = _first_denied(twin, chosen, found[chosen], wanted) if wanted else ""
    return RunFailure("BadRequest", failure) if failure else _of_encryption(twin, properties)


def _of_encryption(twin: TenantTwin, properties: Document) -> RunFailure | None:
    """Returns why a workspace's identity can't use its encryption key; None if it can, or there is none.
    https://learn.microsoft.com/azure/machine-learning/concept-customer-managed-keys

    Unsure (60 %): the page requires the permission; code and message are assumed.
    """
    encryption = properties.get("encryption") or {}
    identity_id: str = (encryption.get("identity") or {}).get("userAssignedIdentity") or ""
    vault: str = (encryption.get("keyVaultProperties") or {}).get("keyVaultArmId") or ""
    identity = twin.find(identity_id) if identity_id and vault else None
    if identity is None:
        return None
    wanted = [IdentityNeed(action, vault, "encryption of the workspace") for action in ENCRYPT]
    failure = _first_denied(twin, identity_id, identity["properties"]["principalId"], wanted)
    return RunFailure("BadRequest", failure) if failure else None


def of_job(twin: TenantTwin, job: Document) -> RunFailure | None:
    """Returns why a job can't start under its cluster's identity; None if it can.

    Unsure (60 %): the permission on the workspace's default container, where a job logs; the order in which permissions
    are checked.
    """
    workspace = references.workspace_of(job["id"])
    try:
        compute = references.compute(twin, workspace, job["properties"]["computeId"], "properties.computeId")
        wanted = list(_job_needs(twin, workspace, job["properties"]))
    except ArmError as e:
        return RunFailure("UserError", e.message)
    chosen = identity_of_job(job, compute)
    if chosen is None:
        return RunFailure("UserError", f"Cluster {compute['name']} has no managed identity for the job to work under.")
    identity_id, principal = chosen
    failure = _first_denied(twin, identity_id, principal, wanted)
    return RunFailure("UserError", failure) if failure else None


def identity_of_job(job: Document, compute: Document) -> tuple[str, str] | None:
    """Returns the identity that a job runs under: its id and principal; None if there is none. The job may choose among
    the cluster's; the first is the default.
    """
    wanted = job["properties"].get("identity") or {}
    for identity_id, identity in identities_of(compute).items():
        chosen = {
            "clientId": identity["clientId"].lower(),
            "objectId": identity["principalId"].lower(),
            "resourceId": identity_id.lower(),
        }
        if all(str(wanted[name]).lower() == chosen[name] for name in chosen if wanted.get(name)):
            return identity_id, identity["principalId"]
    principal = (compute.get("identity") or {}).get("principalId")
    return (compute["id"], principal) if principal and not wanted.get("clientId") else None


def _workspace_needs(properties: Document) -> Iterator[IdentityNeed]:
    """Yields the permissions of a workspace's identity.
    https://learn.microsoft.com/azure/machine-learning/how-to-identity-based-service-authentication#workspace
    """
    managed = properties["managedNetwork"]["isolationMode"] != "Disabled"
    for member, type_ in OWN.items():
        if not properties.get(member):
            continue
        yield IdentityNeed(f"{type_}/write", properties[member], f"{member} of the workspace", data=False)
        if managed and member != "applicationInsights":
            approval = f"{type_}/privateEndpointConnectionsApproval/action"
            yield IdentityNeed(approval, properties[member], "the workspace's managed network", data=False)
    yield IdentityNeed(WRITE, properties["storageAccount"], "storageAccount of the workspace")
    yield IdentityNeed(SECRET, properties["keyVault"], "keyVault of the workspace")


def _deployment_needs(twin: TenantTwin, workspace: str, properties: Document) -> Iterator[IdentityNeed]:
    reference = properties["environmentId"]
    environment = references.asset(twin, workspace, reference, "environments", "properties.environmentId")
    yield from _image_needs(twin, workspace, environment["properties"]["image"])
    if properties.get("model"):
        model = references.asset(twin, workspace, properties["model"], "models", "properties.model")
        yield from _uri_needs(twin, workspace, model["properties"]["modelUri"], READ, f"model {model['id']}")


def _job_needs(twin: TenantTwin, workspace: str, properties: Document) -> Iterator[IdentityNeed]:
    """Yields the permissions that a job needs: for what its body names, and for its logs and artifacts in the
    workspace's default container. Those are written as the cluster's identity, which sets up the mounts: each job has
    an output `default` there. If the account accepts no keys, the documentation names no other identity that could.

    https://learn.microsoft.com/azure/machine-learning/how-to-identity-based-service-authentication#compute-cluster
    https://learn.microsoft.com/azure/machine-learning/how-to-disable-local-auth-storage#scenarios-for-role-assignments
    """
    reference = properties["environmentId"]
    environment = references.asset(twin, workspace, reference, "environments", "properties.environmentId")
    yield from _image_needs(twin, workspace, environment["properties"]["image"])
    if twin.find(f"{workspace}/datastores/{ARTIFACTS}"):
        uri = f"azureml://datastores/{ARTIFACTS}/paths/ExperimentRun/"
        yield from _uri_needs(twin, workspace, uri, WRITE, "the job's log")
    for name, given in (properties.get("inputs") or {}).items():
        if given.get("uri"):
            yield from _uri_needs(twin, workspace, given["uri"], READ, f"input {name}")
    for name, given in (properties.get("outputs") or {}).items():
        if given.get("uri"):
            yield from _uri_needs(twin, workspace, given["uri"], WRITE, f"output {name}")


def _image_needs(twin: TenantTwin, workspace: str, image: str) -> Iterator[IdentityNeed]:
    """Yields the pull permission on an image's registry; for an image that runs as a process, on the workspace's own
    registry.
    """
    if image.startswith(PROCESS):
        document = twin.find(workspace)
        registry = document["properties"].get("containerRegistry") if document else None
        if registry:
            yield IdentityNeed(PULL, registry, f"image {image}", data=False)
        return
    host = image.partition("/")[0].lower()
    for document in twin.resources.values():
        is_registry = document["type"] == "Microsoft.ContainerRegistry/registries"
        if is_registry and str(document["properties"].get("loginServer")).lower() == host:
            yield IdentityNeed(PULL, document["id"], f"image {image}", data=False)


def _uri_needs(twin: TenantTwin, workspace: str, uri: str, action: str, what: str) -> Iterator[IdentityNeed]:
    found = references.data_path(twin, workspace, uri, "")
    container = found.container_id(twin) if found else ""
    if container:
        yield IdentityNeed(action, container, f"{what} ({uri})")


def _first_denied(twin: TenantTwin, identity_id: str, principal: str, wanted: list[IdentityNeed]) -> str:
    for need in wanted:
        if not twin.may(principal, need.action, need.scope, data=need.data):
            return (
                f"The managed identity {identity_id} with object id '{principal}' does not have authorization to "
                f"perform action '{need.action}' over scope '{need.scope}', which {need.what} needs. "
                "If access was recently granted, wait some minutes and try again."
            )
    return ""
