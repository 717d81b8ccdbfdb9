"""Who may do what: the identities of jobs, endpoints and the workspace, and the people who operate the stack.

Each has the roles that its work takes on the stack's own things, and no more: on one registry, one container, one
vault. https://learn.microsoft.com/azure/machine-learning/how-to-identity-based-service-authentication
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pulumi
from pulumi_azure_native import authorization, managedidentity

from contract.tags import made_for
from infra import names
from infra.targets.azure.access import Access
from infra.targets.azure.here import Here, Identity, Registry, Scratch, Storage, Vault, Workspace, as_scope
from infra.targets.azure.patience import ASSIGNMENT_API
from infra.targets.azure.session import look_up

ROLES = {
    "AcrPull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "AcrPush": "8311e382-0749-4cb8-b61a-304f252e45ec",
    "AzureML Data Scientist": "f6c7c914-8db3-469d-8ca1-694a8f32e121",
    "AzureML Metrics Writer (preview)": "635dd51f-9968-44d3-b7fb-6d9a6bd613ae",
    "Azure AI Enterprise Network Connection Approver": "b556d68e-0be0-4f35-a333-ad7ee1ce17ea",
    "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "Key Vault Crypto Service Encryption User": "e147488a-f6f5-4113-8e2d-b22465e65bf6",
    "Key Vault Crypto User": "12338af0-0e69-4776-bea7-57ae8d297424",
    "Key Vault Secrets Officer": "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
    "Log Analytics Reader": "73c42c96-874c-492b-b04d-ab87d138a893",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage Blob Data Reader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
}
"""https://learn.microsoft.com/azure/role-based-access-control/built-in-roles"""
ARTIFACTS = "azureml"
"""The container of logs and artifacts in a workspace's default account, by the datastore workspaceartifactstore:
https://learn.microsoft.com/azure/machine-learning/concept-data#default-datastore
"""
_IDENTITY_API = "2023-01-31"
_KEPT = ("store", "vault")
"""What outlives the stack; the program reads the store before it declares who may."""
_KIND = "Microsoft.ManagedIdentity/userAssignedIdentities"


@dataclass(frozen=True)
class Things:
    """What the roles are given on."""

    storage: Storage
    scratch: Scratch
    vault: Vault
    registry: Registry
    metrics: str  # resource ids
    logs: str
    records: list[pulumi.Resource]


@dataclass(frozen=True)
class _Grant:
    role: str
    scope: str  # resource id
    thing: str  # its word in logical names
    after: Sequence[pulumi.Resource]


def provide_identity(here: Here, name: str, given: str) -> Identity:
    """Declare an identity without any role, unless one is given.

    Args:
        here: the stack's place.
        name: training, endpoint or workspace.
        given: resource id of one that exists, or empty. What `llmops bootstrap azure` made for this stack gets its
            roles from the program, since whoever deploys may give roles to nobody else; others have their own.
    """
    if given:
        document = look_up(here.place, given, _IDENTITY_API, f"identities.{name}")
        found, tags = document["properties"], document.get("tags") or {}
        theirs = not made_for(here.project, here.stack).items() <= tags.items()
        return Identity(given, found["clientId"], found["principalId"], [], theirs=theirs)
    logical, physical = f"identity-{name}", here.names.of(name)
    made = managedidentity.UserAssignedIdentity(
        logical,
        resource_name_=physical,
        resource_group_name=here.group,
        location=here.location,
        tags=here.all_tags,
        opts=here.adopted(
            "azure-native:managedidentity:UserAssignedIdentity", logical, here.id(_KIND, physical), _IDENTITY_API
        ),
    )
    return Identity(made.id, made.client_id, made.principal_id, [made])


def grant_training(here: Here, identity: Identity, things: Things, workspace: Workspace) -> Identity:
    """What a job does: pulls its image, reads versions, writes runs, keeps checkpoints, and logs.

    Where its lines go, Azure writes by the cluster's identity or by the workspace's own: the documents leave it open.
    The cluster's gets the right to. It can't reach versions by it, and learns and changes nothing of other stacks.
    """
    storage = things.storage
    return _grant(
        here,
        "training",
        identity,
        [
            _Grant("AcrPull", things.registry.plain_id, "registry", things.registry.ready),
            _Grant("Storage Blob Data Reader", storage.store_id, "store", storage.ready),
            _Grant("Storage Blob Data Contributor", storage.work_id, "work", storage.ready),
            *_on_jobs(here, "Storage Blob Data Contributor", things, workspace),
        ],
    )


def grant_endpoint(here: Here, identity: Identity, things: Things, workspace: Workspace) -> Identity:
    """What an endpoint does: pulls its image, loads a version, and tells its figures.

    Azure asks for a reader of the workspace's own account, too, and for a writer of its metrics:
    https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#authorization-error
    https://learn.microsoft.com/azure/machine-learning/concept-endpoints-online-auth#permissions-needed-for-user-identity
    """
    storage = things.storage
    metrics = _Grant("AzureML Metrics Writer (preview)", workspace.plain_id, "workspace", workspace.ready)
    return _grant(
        here,
        "endpoint",
        identity,
        [
            _Grant("AcrPull", things.registry.plain_id, "registry", things.registry.ready),
            _Grant("Storage Blob Data Reader", storage.store_id, "store", storage.ready),
            *_on_jobs(here, "Storage Blob Data Reader", things, workspace),
            *([metrics] if _may_assign_on(here, workspace.plain_id) else []),
        ],
    )


def _on_jobs(here: Here, role: str, things: Things, workspace: Workspace) -> list[_Grant]:
    """Of the account of checkpoints all, with the default containers of a workspace that is made. Of an account that
    others use, the container of logs and artifacts alone.
    """
    scratch, given = things.scratch, here.settings.azure
    found = [_Grant(role, scratch.plain_id, "scratch", scratch.ready)] if scratch.own else []
    container = f"{workspace.account_id}/blobServices/default/containers/{ARTIFACTS}"
    if (given.workspace or not scratch.own) and workspace.account_id and _may_assign_on(here, container):
        found.append(_Grant(role, container, "logs", workspace.ready))
    return found


def _may_assign_on(here: Here, id_: str) -> bool:
    """In a group that is given, roles are given on what is in it alone: whoever gave it owns the rest."""
    group = here.settings.azure.resource_group
    return not group or id_.lower().startswith(f"{group.lower()}/")


def grant_workspace(here: Here, identity: Identity, things: Things) -> Identity:
    """What Azure asks for the identity of a workspace with resources of one's own, on exactly those.

    Of secrets it is an officer, where Azure's table says Key Vault Administrator: secrets are what it keeps in the
    vault. The stack's key is there as well, and an administrator could sign with it: every version that endpoints load
    would be Azure ML's to make. Of versions it is a reader; the account of checkpoints is its own to write.
    """
    scratch, vault, registry = things.scratch, things.vault, things.registry
    wanted = [
        _Grant("Contributor", scratch.plain_id, "scratch", scratch.ready),
        _Grant("Storage Blob Data Contributor", scratch.plain_id, "scratch", scratch.ready),
        _Grant("Storage Blob Data Reader", things.storage.store_id, "store", things.storage.ready),
        _Grant("Contributor", vault.plain_id, "vault", vault.ready),
        _Grant("Key Vault Secrets Officer", vault.plain_id, "vault", vault.ready),
        _Grant("Contributor", registry.plain_id, "registry", registry.ready),
        _Grant("Contributor", things.metrics, "metrics", things.records),
    ]
    if here.settings.azure.network.mode != "none":
        role = "Azure AI Enterprise Network Connection Approver"
        places = [("scratch", scratch), ("vault", vault), ("registry", registry)]
        places += [("storage", things.storage)] if scratch.own else []
        wanted += [_Grant(role, thing.plain_id, word, thing.ready) for word, thing in places]
    return _grant(here, "workspace", identity, wanted)


def grant_on_workspace(here: Here, identity: Identity, workspace: Workspace) -> Workspace:
    """What Azure asks for the identity of a workspace on the workspace itself, once it is there."""
    contributor = _Grant("Contributor", workspace.plain_id, "workspace", workspace.ready)
    granted = _grant(here, "workspace", replace(identity, ready=[]), [contributor])
    return replace(workspace, ready=[*workspace.ready, *granted.ready])


def grant_encryption(here: Here, identity: Identity) -> Identity:
    """What storage, registry and workspace do with a given key, by the workspace's identity. In a given group the
    deployer gives roles there alone: then the owner of the key's vault gives this one.
    """
    vault = "" if here.settings.azure.resource_group else here.settings.azure.encryption.vault
    wanted = [_Grant("Key Vault Crypto Service Encryption User", vault, "encryption", identity.ready)]
    return _grant(here, "workspace", identity, wanted if vault else [])


def grant_deployer(here: Here, things: Things) -> list[pulumi.Resource]:
    """What who deployed first does with data and keys: versions, runs, signatures. A given thing has roles of its own,
    and so has all that lies in a given group: who gave it gives people their roles, and the deployer gives none.

    Returns:
        What signing and reading wait for.
    """
    if here.settings.azure.resource_group:
        return []
    principal, data = here.operator["object_id"], things.storage
    made = [
        _assign(here, "deployer", principal, here.operator["kind"], grant, keep=grant.thing in _KEPT)
        for grant in _of_people(here, things)
    ]
    if here.settings.azure.storage_account:
        return made
    urls = [data.store_url, data.work_url]
    return [*made, Access("access", here.place, operator=principal, containers=urls, after=[*data.ready, *made])]


def grant_operators(here: Here, things: Things, workspace: str, after: Sequence[pulumi.Resource]) -> None:
    """What others do who operate the stack and own nothing of it.

    Args:
        here: the stack's place.
        things: what the roles are given on.
        workspace: its resource id.
        after: what must be there first.
    """
    given = here.settings.azure
    wanted = _of_people(here, things)
    if not given.registry:
        wanted.append(_Grant("AcrPush", things.registry.plain_id, "registry", things.registry.ready))
    if not given.workspace:
        wanted.append(_Grant("AzureML Data Scientist", workspace, "workspace", after))
    if not (given.logs or given.metrics):
        wanted.append(_Grant("Log Analytics Reader", things.logs, "logs", after))
    for person in given.operators:
        for grant in wanted:
            _assign(here, f"operator-{person.object_id}", person.object_id, person.kind, grant)


def _of_people(here: Here, things: Things) -> list[_Grant]:
    given, storage = here.settings.azure, things.storage
    role = "Storage Blob Data Contributor"
    containers = [
        _Grant(role, id_, word, storage.ready) for word, id_ in (("store", storage.store_id), ("work", storage.work_id))
    ]
    # Lines of jobs are read as the reader, where their URLs carry no right of their own.
    containers.append(_Grant("Storage Blob Data Reader", things.scratch.plain_id, "scratch", things.scratch.ready))
    vaults = [_Grant("Key Vault Crypto User", things.vault.plain_id, "vault", things.vault.ready)]
    return [*([] if given.storage_account else containers), *([] if given.vault else vaults)]


def _grant(here: Here, name: str, identity: Identity, grants: Iterable[_Grant]) -> Identity:
    """The identity with its roles, but for one that somebody gave with its roles."""
    if identity.theirs:
        return identity
    grants = list(grants)
    made = [_assign(here, name, identity.principal_id, "ServicePrincipal", grant) for grant in grants]
    roles = (*identity.roles, *(_assignment_id(here, name, grant) for grant in grants))
    return replace(identity, ready=[*identity.ready, *made], roles=roles)


def _assign(
    here: Here,
    who: str,
    principal: pulumi.Input[str],
    kind: pulumi.Input[str],
    grant: _Grant,
    *,
    keep: bool = False,
) -> pulumi.Resource:
    """A role assignment, with a name that is always the same: an interrupted update's is found again."""
    word = grant.role.lower().removesuffix(" (preview)").replace(" ", "-")
    plain = f"role-{who}-{grant.thing}-{word}"
    logical = names.kept(plain) if keep else plain
    id_ = _assignment_id(here, who, grant)
    definition = f"/subscriptions/{here.caller.subscription}/providers/Microsoft.Authorization/roleDefinitions"
    return authorization.RoleAssignment(
        logical,
        role_assignment_name=id_.rpartition("/")[2],
        scope=as_scope(grant.scope),
        role_definition_id=f"{definition}/{ROLES[grant.role]}",
        principal_id=principal,
        principal_type=kind,
        opts=here.adopted(
            "azure-native:authorization:RoleAssignment",
            logical,
            id_,
            ASSIGNMENT_API,
            protect=True if keep else None,
            depends_on=list(grant.after),
        ),
    )


def _assignment_id(here: Here, who: str, grant: _Grant) -> str:
    name = here.names.guid(here.caller.subscription, who, grant.role, grant.scope.lower())
    return f"{grant.scope}/providers/Microsoft.Authorization/roleAssignments/{name}"
