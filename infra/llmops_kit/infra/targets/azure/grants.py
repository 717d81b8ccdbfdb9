"""Role assignments of jobs, endpoints, the workspace and the stack's users, as plain values.

Each principal gets only the roles that it needs, on single resources of the stack: one registry, one container, one
vault. https://learn.microsoft.com/azure/machine-learning/how-to-identity-based-service-authentication
"""

from collections.abc import Iterator
from typing import NamedTuple

from llmops_kit.clouds.azure.names import assignment_name
from llmops_kit.infra.targets.azure.inventory import AzureEntry, AzureInventory

ARTIFACTS = "azureml"
"""The container of logs and artifacts in a workspace's default account, by the datastore workspaceartifactstore:
https://learn.microsoft.com/azure/machine-learning/concept-data#default-datastore
"""
_CONTRIBUTOR, _READER = "Storage Blob Data Contributor", "Storage Blob Data Reader"
_KEPT = ("store", "vault")
"""Resources whose assignments outlive the stack: the program reads the store before it declares assignments."""


class RoleGrant(NamedTuple):
    """A role of a principal on a resource."""

    who: str
    role: str
    scope: str
    """Resource id."""
    resource: str
    """Its part of logical names."""


def grants(of: AzureInventory) -> Iterator[RoleGrant]:
    """Yields all role assignments of a stack; an existing identity that has its roles gets none."""
    for who, wanted in (("training", training(of)), ("endpoint", endpoint(of))):
        if not has_roles(of, who):
            yield from wanted
    if not of.given.workspace and not has_roles(of, "workspace"):
        yield from (*encryption(of), *workspace(of), *on_workspace(of))
    yield from deployer(of)
    yield from operators(of)


def has_roles(of: AzureInventory, who: str) -> bool:
    """Return whether an identity is an existing one, whose owner assigns its roles."""
    return who in of.found.identities and of.found.identities[who].has_roles


def keeps(grant: RoleGrant) -> bool:
    """Returns whether an assignment outlives the stack."""
    return grant.who == "deployer" and grant.resource in _KEPT


def assignment(of: AzureInventory, grant: RoleGrant) -> AzureEntry:
    """Returns a role assignment, named by its parts alone, so that one left by an interrupted update is found."""
    word = grant.role.lower().removesuffix(" (preview)").replace(" ", "-")
    plain = f"role-{grant.who}-{grant.resource}-{word}"
    own = assignment_name(
        of.project, of.stack, of.location.subscription, of.names.logical(grant.who), grant.role, grant.scope
    )
    id_ = f"{grant.scope}/providers/Microsoft.Authorization/roleAssignments/{own}"
    logical = of.names.kept(plain) if keeps(grant) else of.names.logical(plain)
    return AzureEntry("azure-native:authorization:RoleAssignment", logical, id_)


def training(of: AzureInventory) -> list[RoleGrant]:
    """Return a job's roles: to pull its image, read versions, write runs, checkpoints and logs.

    Azure writes a job's log lines as the cluster's identity or as the workspace's; its documentation leaves this open.
    So the cluster's identity may write them too. That gives it no access to versions or to other stacks.
    """
    return [
        RoleGrant("training", "AcrPull", of.id_of("registry"), "registry"),
        RoleGrant("training", _READER, of.container("store").id, "store"),
        RoleGrant("training", _CONTRIBUTOR, of.container("work").id, "work"),
        *_on_jobs(of, "training", _CONTRIBUTOR),
    ]


def endpoint(of: AzureInventory) -> list[RoleGrant]:
    """Return an endpoint's roles: to pull its image, load a version and publish metrics.

    Azure also requires a reader role on the workspace's default account, and a writer role for its metrics:
    https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#authorization-error
    https://learn.microsoft.com/azure/machine-learning/concept-endpoints-online-auth#permissions-needed-for-user-identity
    """
    metrics = RoleGrant("endpoint", "AzureML Metrics Writer (preview)", of.id_of("workspace"), "workspace")
    return [
        RoleGrant("endpoint", "AcrPull", of.id_of("registry"), "registry"),
        RoleGrant("endpoint", _READER, of.container("store").id, "store"),
        *_on_jobs(of, "endpoint", _READER),
        *([metrics] if _may_assign_on(of, of.id_of("workspace")) else []),
    ]


def encryption(of: AzureInventory) -> list[RoleGrant]:
    """Returns the role with which storage, registry and workspace use an existing key, as the workspace's identity.

    In an existing resource group the deployer assigns roles only within the group, so that the owner of the key's vault
    assigns this one.
    """
    vault = "" if of.given.resource_group else of.given.encryption.vault
    return [RoleGrant("workspace", "Key Vault Crypto Service Encryption User", vault, "encryption")] if vault else []


def workspace(of: AzureInventory) -> list[RoleGrant]:
    """Returns the roles that Azure requires for the identity of a workspace with its own resources, on exactly those.

    It gets Key Vault Secrets Officer, although Azure's table says Key Vault Administrator: it keeps only secrets there.
    An administrator could also use the stack's signing key, so that Azure ML could sign any version that endpoints
    load. It reads versions, and writes only to the account of checkpoints.
    """
    ids = {"scratch": of.scratch_id, "vault": of.id_of("vault"), "registry": of.id_of("registry")}
    wanted = [
        ("Contributor", of.scratch_id, "scratch"),
        (_CONTRIBUTOR, of.scratch_id, "scratch"),
        (_READER, of.container("store").id, "store"),
        ("Contributor", of.id_of("vault"), "vault"),
        ("Key Vault Secrets Officer", of.id_of("vault"), "vault"),
        ("Contributor", of.id_of("registry"), "registry"),
        ("Contributor", of.id_of("metrics"), "metrics"),
    ]
    if of.isolated:
        ids |= {} if of.given.storage_account else {"storage": of.account_id}
        wanted += [("Azure AI Enterprise Network Connection Approver", id_, word) for word, id_ in ids.items()]
    return [RoleGrant("workspace", *each) for each in wanted]


def on_workspace(of: AzureInventory) -> list[RoleGrant]:
    """Returns the role that Azure requires for the workspace's identity on the workspace itself, once it exists."""
    return [RoleGrant("workspace", "Contributor", of.id_of("workspace"), "workspace")]


def deployer(of: AzureInventory) -> list[RoleGrant]:
    """Returns the first deployer's roles for data and keys: versions, runs, signatures. None in an existing resource
    group or on existing resources, whose owners assign roles to people.
    """
    return [] if of.given.resource_group else list(_of_people(of, "deployer"))


def operators(of: AzureInventory) -> Iterator[RoleGrant]:
    """Yields the roles of people who operate the stack without owning anything in it."""
    given = of.given
    wanted = (
        (given.registry, "AcrPush", of.id_of("registry"), "registry"),
        (given.workspace, "AzureML Data Scientist", of.id_of("workspace"), "workspace"),
        (given.logs or given.metrics, "Log Analytics Reader", of.logs_id, "logs"),
    )
    for person in given.operators:
        who = f"operator-{person.object_id}"
        yield from _of_people(of, who)
        yield from (RoleGrant(who, *each) for had, *each in wanted if not had)


def _of_people(of: AzureInventory, who: str) -> Iterator[RoleGrant]:
    if not of.given.storage_account:
        yield from (RoleGrant(who, _CONTRIBUTOR, of.container(word).id, word) for word in ("store", "work"))
        # Logs of jobs are read with the reader's credentials if their URLs contain no SAS token.
        yield RoleGrant(who, _READER, of.scratch_id, "scratch")
    if not of.given.vault:
        yield RoleGrant(who, "Key Vault Crypto User", of.id_of("vault"), "vault")


def _on_jobs(of: AzureInventory, who: str, role: str) -> Iterator[RoleGrant]:
    """Yields a role on the account of checkpoints and of a new workspace's default containers; on an account that is
    shared with others, only on the container of logs and artifacts.
    """
    if not of.given.storage_account:
        yield RoleGrant(who, role, of.scratch_id, "scratch")
    account = of.found.default_account if of.given.workspace else of.scratch_id
    container = f"{account}/blobServices/default/containers/{ARTIFACTS}"
    if (of.given.workspace or of.given.storage_account) and account and _may_assign_on(of, container):
        yield RoleGrant(who, role, container, "logs")


def _may_assign_on(of: AzureInventory, id_: str) -> bool:
    """Returns whether the stack may assign roles on a resource: with an existing group, only within the group."""
    group = of.given.resource_group
    return not group or id_.lower().startswith(f"{group.lower()}/")
