"""Does a principal get out of its stack's place on Azure? A search, breadth first, on the judge of the twin.

What somebody holds is a set of role assignments. A move is a call that one of them allows: giving or taking a role,
writing a role, becoming a managed identity (by a federated credential, or by giving it to a machine or a job), reading
keys, changing who may. What a move brings is tried in turn. The search ends at the first call on what is not the
stack's: another resource group, the subscription, the place of the states, another principal. Conditions are judged as
the twin judges requests, with the attributes that the request would have.

Built by the ways of https://learn.microsoft.com/azure/role-based-access-control/delegate-role-assignments-overview and
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/managed-identity-best-practice-recommendations
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

from llmops_twins.azure.judges import conditions, permissions, roles
from llmops_twins.azure.judges.permissions import Grant
from llmops_twins.azure.protocol.ids import key

Document = dict[str, Any]
_AUTHORIZATION = "Microsoft.Authorization"
_ASSIGNMENTS = f"{_AUTHORIZATION}/roleAssignments"
_DEFINITIONS = f"{_AUTHORIZATION}/roleDefinitions"
_IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
_KINDS = ("ServicePrincipal", "User", "Group")
_RUNS_CODE = (
    "Microsoft.MachineLearningServices/workspaces/computes/write",
    "Microsoft.MachineLearningServices/workspaces/jobs/write",
    "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments/write",
    "Microsoft.Compute/virtualMachines/write",
    "Microsoft.Resources/deploymentScripts/write",
)
"""What is given an identity, and runs what it is told to."""
CONTROL = (
    *(f"{_ASSIGNMENTS}/{verb}" for verb in ("write", "delete")),
    *(f"{_DEFINITIONS}/{verb}" for verb in ("write", "delete")),
    f"{_AUTHORIZATION}/elevateAccess/action",
    f"{_AUTHORIZATION}/locks/delete",
    f"{_AUTHORIZATION}/policyAssignments/write",
    *(f"{_IDENTITIES}/{verb}" for verb in ("write", "delete", "assign/action", "federatedIdentityCredentials/write")),
    "Microsoft.Resources/subscriptions/resourceGroups/write",
    "Microsoft.Resources/subscriptions/resourceGroups/delete",
    "Microsoft.Resources/deployments/write",
    "Microsoft.Resources/tags/write",
    "Microsoft.Storage/storageAccounts/write",
    "Microsoft.Storage/storageAccounts/delete",
    "Microsoft.Storage/storageAccounts/listKeys/action",
    "Microsoft.Storage/storageAccounts/regenerateKey/action",
    "Microsoft.Storage/storageAccounts/listAccountSas/action",
    "Microsoft.Storage/storageAccounts/managementPolicies/write",
    "Microsoft.Storage/storageAccounts/blobServices/write",
    "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
    "Microsoft.Storage/storageAccounts/blobServices/containers/write",
    "Microsoft.Storage/storageAccounts/blobServices/containers/delete",
    "Microsoft.KeyVault/vaults/write",
    "Microsoft.KeyVault/vaults/delete",
    "Microsoft.KeyVault/vaults/keys/write",
    "Microsoft.KeyVault/vaults/secrets/write",
    "Microsoft.KeyVault/vaults/accessPolicies/write",
    "Microsoft.KeyVault/vaults/deploy/action",
    "Microsoft.KeyVault/locations/deletedVaults/purge/action",
    "Microsoft.ContainerRegistry/registries/write",
    "Microsoft.MachineLearningServices/workspaces/listKeys/action",
    *_RUNS_CODE,
)
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_OF_BLOBS = ("read", "write", "delete", "add/action", "deleteBlobVersion/action", "permanentDelete/action")
_USES = ("sign", "encrypt", "decrypt", "wrap", "unwrap", "update", "create", "import", "purge", "backup", "restore")
DATA = (
    *(f"{_BLOBS}/{verb}" for verb in _OF_BLOBS),
    *(f"Microsoft.KeyVault/vaults/keys/{verb}" for verb in ("read", "delete", *(f"{use}/action" for use in _USES))),
    "Microsoft.KeyVault/vaults/secrets/getSecret/action",
    "Microsoft.KeyVault/vaults/secrets/setSecret/action",
)


@dataclass(frozen=True)
class Ground:
    """What the search knows of a subscription."""

    documents: list[Document]
    """Role assignments and definitions, as Resource Manager lists them."""
    identities: Mapping[str, str]
    """Managed identities: resource id -> object id."""
    own: frozenset[str]
    """Resource groups of the stacks, in lower case; what lies in them is theirs."""
    others: tuple[str, ...]
    """Scopes that are nobody's of the stack: the subscription, other groups, the place of the states and its parts."""
    strangers: tuple[str, ...]
    """Principals that the stack did not make."""
    may: frozenset[tuple[str, str]] = frozenset()
    """(scope in lower case, action): what somebody has to do outside all the same, such as writing a state."""

    def is_own(self, scope: str) -> bool:
        """Does a scope lie in a stack's group?"""
        return any(key(scope) == group or key(scope).startswith(f"{group}/") for group in self.own)

    @property
    def own_principals(self) -> frozenset[str]:
        """Of the identities in the stacks' groups."""
        return frozenset(who.lower() for id_, who in self.identities.items() if self.is_own(id_))


class _Held(NamedTuple):
    """An assignment of somebody whom the attacker is, and how it came to that."""

    who: str
    grant: Grant
    way: tuple[str, ...]


class _Gain(NamedTuple):
    """What a move brings: a way out, another principal, or an assignment of one."""

    words: str
    out: bool = False
    becomes: str = ""
    given: tuple[str, Grant] | None = None


def shortest_way_out(ground: Ground, attacker: str) -> list[str]:
    """The calls by which a principal gets out of its stacks' place, the fewest; none: it does not."""
    held = {who: list(each) for who, each in permissions.read(ground.documents).items()}
    controlled: dict[str, tuple[str, ...]] = {attacker.lower(): ()}
    to_try = deque(_Held(attacker.lower(), grant, ()) for grant in held.get(attacker.lower(), ()))
    seen: set[tuple[str, str, str]] = set()
    while to_try:
        at = to_try.popleft()
        for gain in _moves(ground, at.grant):
            way = (*at.way, gain.words)
            if gain.out:
                return list(way)
            if gain.becomes and gain.becomes not in controlled:
                controlled[gain.becomes] = way
                to_try += [_Held(gain.becomes, grant, way) for grant in held.get(gain.becomes, ())]
            if gain.given and (fresh := (gain.given[0], gain.given[1].scope, gain.given[1].role.id)) not in seen:
                seen.add(fresh)
                who, grant = gain.given
                held.setdefault(who, []).append(grant)
                if who in controlled:
                    to_try.append(_Held(who, grant, way))
    return []


def _moves(ground: Ground, grant: Grant) -> Iterator[_Gain]:
    yield from _calls_outside(ground, grant)
    yield from _roles_given(ground, grant)
    yield from _roles_taken(ground, grant)
    yield from _identities_taken(ground, grant)


def _calls_outside(ground: Ground, grant: Grant) -> Iterator[_Gain]:
    """Calls that change, use or open what is not the stack's. Giving and taking roles have attributes of their own."""
    for scope in ground.others:
        for action, data in (*((a, False) for a in CONTROL), *((a, True) for a in DATA)):
            if action.startswith(_ASSIGNMENTS) or (key(scope), action) in ground.may:
                continue
            if _allows(grant, action, scope, data):
                yield _Gain(f"{action} on {scope}, by {_words(grant)}", out=True)


def _roles_given(ground: Ground, grant: Grant) -> Iterator[_Gain]:
    known = _roles(ground)
    scopes = [scope for scope in (*ground.others, *ground.own) if grant.covers(key(scope))]
    if not scopes or not grant.role.allows(f"{_ASSIGNMENTS}/write"):
        return
    for who, scope in product((*ground.strangers, *ground.identities.values()), scopes):
        for role, kind in product(known.values(), _KINDS):
            request = {"roleDefinitionId": role.id, "principalId": who, "principalType": kind}
            attributes = permissions.assignment_attributes(request=request, resource={})
            if not _allows(grant, f"{_ASSIGNMENTS}/write", scope, False, attributes):
                continue
            words = f"gives {role.name} on {scope} to {kind} {who}, by {_words(grant)}"
            out = not ground.is_own(scope) or who.lower() not in ground.own_principals
            yield _Gain(words, out, given=(who.lower(), Grant(key(scope), role, 0.0)))


def _roles_taken(ground: Ground, grant: Grant) -> Iterator[_Gain]:
    """Taking a role away, or changing its condition, from a principal that is not the stack's."""
    for document in ground.documents:
        if document["type"] != _ASSIGNMENTS:
            continue
        there = document["properties"]
        attributes = permissions.assignment_attributes(request=there, resource=there)
        for verb in ("delete", "write"):
            foreign = there["principalId"].lower() not in ground.own_principals
            if foreign and _allows(grant, f"{_ASSIGNMENTS}/{verb}", document["id"], False, attributes):
                yield _Gain(f"{verb}s {document['id']}, by {_words(grant)}", out=True)


def _identities_taken(ground: Ground, grant: Grant) -> Iterator[_Gain]:
    """Becoming a managed identity."""
    runs = any(_allows(grant, action, group, False) for group in ground.own for action in _RUNS_CODE)
    for id_, who in ground.identities.items():
        out = not ground.is_own(id_)
        for action in (f"{_IDENTITIES}/federatedIdentityCredentials/write", f"{_IDENTITIES}/assign/action"):
            if _allows(grant, action, id_, False) and (runs or not action.endswith("/assign/action")):
                yield _Gain(f"becomes {id_} by {action}, by {_words(grant)}", out, becomes=who.lower())


def _allows(
    grant: Grant, action: str, scope: str, data: bool, attributes: conditions.Attributes = permissions.NO_ATTRIBUTES
) -> bool:
    """As PermissionJudge.allows, of one assignment."""
    return (
        grant.covers(key(scope))
        and grant.role.allows(action, data)
        and (grant.condition is None or grant.condition(action, attributes))
    )


def _roles(ground: Ground) -> dict[str, roles.AzureRole]:
    custom = [roles.custom(d) for d in ground.documents if d["type"] == _DEFINITIONS and _is_custom(d)]
    return {**roles.built_in(), **{role.id: role for role in custom}}


def _is_custom(document: Document) -> bool:
    return document["properties"].get("type") != "BuiltInRole"


def _words(grant: Grant) -> str:
    return f"{grant.role.name} on {grant.scope or '/'}"
