"""Roles of bootstrap's principals: definitions and assignments, each created only if missing.

https://learn.microsoft.com/azure/role-based-access-control/overview
"""

import uuid
from collections.abc import Collection, Iterable
from typing import Any

from llmops_kit.cli.platforms.azure.bootstrap.names import AzureBootstrapSteps
from llmops_kit.clouds.azure.names import unique_in_tenant
from llmops_kit.clouds.azure.roles import BUILT_IN
from llmops_kit.clouds.azure.session import AzureSession

GRANTED = tuple(
    BUILT_IN[name]
    for name in (
        "AcrPull",
        "AzureML Metrics Writer (preview)",
        "Azure AI Enterprise Network Connection Approver",
        "Contributor",
        "Key Vault Secrets Officer",
        "Storage Blob Data Contributor",
        "Storage Blob Data Reader",
    )
)
"""The roles that a stack's program assigns to the stack's identities in its resource group, and the only ones that the
deploy identity may assign to them (infra/targets/azure/resources/identity.py).
"""
MADE = "Made by llmops bootstrap"
"""Description of bootstrap's role assignments, which distinguishes them from those of a program."""
_DEFINITIONS = "Microsoft.Authorization/roleDefinitions"
_ASSIGNMENTS = "Microsoft.Authorization/roleAssignments"
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_KEYS = "Microsoft.KeyVault/vaults/keys"
_BLOB_SERVICE = "Microsoft.Storage/storageAccounts/blobServices"
_VERSION_METADATA = (
    "aliases/*",
    "promotions/*",
    "rejections/*",
    "revoked/*",
    "models/*/manifest.json",
    "datasets/*/manifest.json",
)
_RUN_METADATA = ("runs/*/run.json", "runs/*/output/*/manifest.json")
Document = dict[str, Any]


def assign(
    work: AzureBootstrapSteps,
    who: str,
    principal: str,
    role: str,
    scope: str,
    kind: str = "ServicePrincipal",
    condition: str = "",
    definition: str = "",
) -> None:
    """Assigns a role on a scope to a principal, unless it has the role there or above under the same condition.

    An assignment on the scope itself with another condition gets this one.

    Args:
        work: of bootstrap.
        who: the principal, for messages.
        principal: its object id; empty: it does not exist yet.
        role: name of a built-in role; with `definition`, any description.
        scope: resource id.
        kind: User, Group or ServicePrincipal.
        condition: of the assignment.
        definition: id of a custom role.
    """
    arm, names = work.session.arm, work.names
    what = f"role {role} of {who} on {scope.rpartition('/')[2]}"
    guid = definition.rpartition("/")[2] or BUILT_IN[role]
    found = _assignments(work, principal, scope, guid) if principal else []
    ours = next((a for a in found if a["scope"].lower() == scope.lower()), None)
    if any((a.get("condition") or "") == condition for a in found):
        work.there(what)
        return
    name = ours["name"] if ours else _own_name(scope, guid, principal)
    properties = {
        "roleDefinitionId": f"{names.scope}/providers/{_DEFINITIONS}/{guid}",
        "principalId": principal,
        "principalType": kind,
        "description": MADE,
    }
    if condition:
        properties |= {"condition": condition, "conditionVersion": "2.0"}
    id_ = f"{scope}/providers/{_ASSIGNMENTS}/{name}"
    if ours:
        work.change(what, "its condition", lambda: arm.put(id_, {"properties": properties}))
    else:
        work.make(what, lambda: arm.put(id_, {"properties": properties}))


def take_back(work: AzureBootstrapSteps, who: str, principal: str, kept: Collection[str]) -> None:
    """Removes a principal's assignments on the whole subscription that earlier versions of the kit made. Those of an
    administrator stay, and are reported.

    Args:
        work: of bootstrap.
        who: the principal, for messages.
        principal: its object id; empty: it does not exist yet.
        kept: names of bootstrap's own roles that it keeps there.
    """
    if not principal:
        return
    arm, scope = work.session.arm, work.names.scope
    kept_ids = {role_id(work, name) for name in kept}
    listed = arm.list(f"{scope}/providers/{_ASSIGNMENTS}", **{"$filter": f"principalId eq '{principal}'"})
    for each in listed:
        guid = _role_of(each)
        if str(each["properties"]["scope"]).lower() != scope.lower() or guid in kept_ids:
            continue
        role = next((name for name, id_ in BUILT_IN.items() if id_ == guid), guid)
        what = f"role {role} of {who} on {scope.rpartition('/')[2]}"
        if _is_own(each, scope, guid, principal):
            done = "removed: narrower roles in the stacks' groups replace it"
            work.change(what, done, lambda id_=each["id"]: arm.delete(id_))
        else:
            work.keep(what, "bootstrap did not assign it; narrower roles in the stacks' groups suffice")


def _role_of(assignment: Document) -> str:
    """Returns the GUID of the role that an assignment gives."""
    return str(assignment["properties"]["roleDefinitionId"]).rpartition("/")[2].lower()


def _own_name(scope: str, guid: str, principal: str) -> str:
    """Returns the name that bootstrap gives an assignment."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{scope.lower()} {guid} {principal}"))


def _is_own(assignment: Document, scope: str, guid: str, principal: str) -> bool:
    """Returns whether bootstrap made an assignment: its first versions wrote no description, but the same names."""
    own = _own_name(scope, guid, principal)
    return assignment["properties"].get("description") == MADE or str(assignment["name"]).lower() == own


def remove_roles(session: AzureSession, project: str, scope: str) -> None:
    """Removes a project's custom roles from a subscription, and bootstrap's assignments of them. A role that somebody
    else assigned too stays, since Azure keeps roles that are in use.

    https://learn.microsoft.com/azure/role-based-access-control/custom-roles#custom-role-limits
    """
    arm = session.arm
    listed = arm.list(f"{scope}/providers/{_DEFINITIONS}", **{"$filter": "type eq 'CustomRole'"})
    own = {
        str(each["name"]).lower(): each["id"]
        for each in listed
        if each["properties"].get("description") == MADE
        and str(each["properties"]["roleName"]).startswith(f"{project} ")
        and [place.lower() for place in each["properties"]["assignableScopes"]] == [scope.lower()]
    }
    for each in arm.list(f"{scope}/providers/{_ASSIGNMENTS}") if own else ():
        guid = _role_of(each)
        if each["properties"].get("description") == MADE and guid in own:
            arm.delete(each["id"])
        else:
            own.pop(guid, None)
    for id_ in own.values():
        arm.delete(id_)


def role_id(work: AzureBootstrapSteps, name: str) -> str:
    """Returns the GUID of one of bootstrap's own roles."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{work.names.scope} {name}"))


def _assignments(work: AzureBootstrapSteps, principal: str, scope: str, guid: str) -> list[Document]:
    """Returns the assignments of one role to one principal, on a scope and above it."""
    listed = work.session.arm.list(f"{scope}/providers/{_ASSIGNMENTS}", **{"$filter": f"principalId eq '{principal}'"})
    found = [{"name": each["name"], **each["properties"]} for each in listed]
    return [
        each
        for each in found
        if each["roleDefinitionId"].lower().endswith(guid.lower())
        and f"{scope}/".lower().startswith(f"{each['scope'].rstrip('/')}/".lower())
    ]


def define(work: AzureBootstrapSteps, name: str, wanted: Document) -> str:
    """Defines or rewrites a custom role that can be assigned in this subscription only, and returns its id.

    Args:
        work: of bootstrap.
        name: of the role in the subscription. Names are unique in the tenant, where it gets the subscription's hash.
        wanted: actions, notActions, dataActions, notDataActions.
    """
    arm, scope = work.session.arm, work.names.scope
    id_ = f"{scope}/providers/{_DEFINITIONS}/{role_id(work, name)}"
    block = {part: sorted(wanted.get(part) or []) for part in _PARTS}
    properties = {
        "roleName": unique_in_tenant(name, scope),
        "type": "CustomRole",
        "description": MADE,
        "permissions": [block],
        "assignableScopes": [scope],
    }
    found = arm.find(id_)
    what = f"role definition {name}"
    if found is None:
        work.make(what, lambda: arm.put(id_, {"properties": properties}))
    elif _blocks(found["properties"]) != [block] or found["properties"].get("roleName") != properties["roleName"]:
        work.change(what, "rewritten", lambda: arm.put(id_, {"properties": properties}))
    else:
        work.there(what)
    return id_


_PARTS = ("actions", "notActions", "dataActions", "notDataActions")


def _blocks(properties: Document) -> list[Document]:
    return [{part: sorted(block.get(part) or []) for part in _PARTS} for block in properties.get("permissions") or []]


def only_the_stacks_own(principals: Iterable[str]) -> str:
    """Returns a condition that restricts assignments to the roles of a stack's program, and to these principals.

    https://learn.microsoft.com/azure/role-based-access-control/delegate-role-assignments-examples

    Args:
        principals: object ids of the identities of the stacks.
    """
    rules = []
    for verb, source in (("write", "Request"), ("delete", "Resource")):
        of = f"@{source}[{_ASSIGNMENTS}:"
        asked = (
            f"{of}RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {{{', '.join(GRANTED)}}}",
            f"{of}PrincipalType] ForAnyOfAnyValues:StringEqualsIgnoreCase {{'ServicePrincipal'}}",
            f"{of}PrincipalId] ForAnyOfAnyValues:GuidEquals {{{', '.join(sorted(principals))}}}",
        )
        rules.append(f"((!(ActionMatches{{'{_ASSIGNMENTS}/{verb}'}})) OR ({' AND '.join(asked)}))")
    return " AND ".join(rules)


def only_what_is_said_of_versions() -> str:
    """Returns a condition that restricts reading to aliases, logs of promotions and rejections, manifests, and runs'
    specs.

    Names may be listed.

    https://learn.microsoft.com/azure/storage/blobs/storage-auth-abac-examples
    """
    paths = " OR ".join(
        f"@Resource[{_BLOBS}:path] StringLike '{pattern}'" for pattern in (*_VERSION_METADATA, *_RUN_METADATA)
    )
    reads = f"ActionMatches{{'{_BLOBS}/read'}} AND NOT SubOperationMatches{{'Blob.List'}}"
    return f"(!({reads})) OR ({paths})"


def look_around() -> Document:
    """Returns the rights to read outside of a stack's group: the subscription, its groups, role definitions and
    providers, names of deleted vaults, quotas and VM sizes, but no resources.
    """
    return {
        "actions": [
            "Microsoft.Authorization/roleDefinitions/read",
            "Microsoft.KeyVault/locations/deletedVaults/read",
            "Microsoft.MachineLearningServices/locations/usages/read",
            "Microsoft.MachineLearningServices/locations/vmSizes/read",
            "Microsoft.Resources/subscriptions/read",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            "Microsoft.Resources/subscriptions/providers/read",
        ]
    }


def read_states() -> Document:
    """Returns the rights of a preview on the container of states."""
    return {
        "actions": [f"{_BLOB_SERVICE}/containers/read"],
        "dataActions": [f"{_BLOBS}/read"],
    }


def write_states() -> Document:
    """Returns the rights of an update on the container of states. They don't include removing versions of blobs or
    the container: everything that is overwritten or deleted can be restored.
    """
    return {
        "actions": [f"{_BLOB_SERVICE}/containers/read"],
        "dataActions": [f"{_BLOBS}/{verb}" for verb in ("read", "write", "delete", "add/action")],
    }


def use_states_key(*uses: str) -> Document:
    """Returns the rights to use the key of the states' secrets (`encrypt`, `decrypt`), not to change or delete it."""
    return {"actions": [f"{_KEYS}/read"], "dataActions": [f"{_KEYS}/read", *(f"{_KEYS}/{use}/action" for use in uses)]}


def read_key() -> Document:
    """Returns the rights to read a signing key's public half."""
    return {"actions": [f"{_KEYS}/read"], "dataActions": [f"{_KEYS}/read"]}


def sign() -> Document:
    """Returns the rights to sign with a signing key, for promotion."""
    return {"actions": [f"{_KEYS}/read"], "dataActions": [f"{_KEYS}/read", f"{_KEYS}/sign/action"]}
