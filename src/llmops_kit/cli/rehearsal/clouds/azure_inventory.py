"""Inventory of a subscription, by the kinds of resources that the kit uses; comparing two finds leftovers."""

from collections.abc import Iterator
from typing import Any, Protocol

Described = tuple[str, Any]
_ML = "Microsoft.MachineLearningServices/workspaces"
_ML_API = "2025-12-01"
_GROUPS_API = "2024-03-01"
# Type -> its name for users, and the api-version by which it is described.
TYPES = {
    "Microsoft.Storage/storageAccounts": ("storage account", "2024-01-01"),
    "Microsoft.KeyVault/vaults": ("vault", "2024-11-01"),
    "Microsoft.ContainerRegistry/registries": ("registry", "2023-07-01"),
    "Microsoft.ManagedIdentity/userAssignedIdentities": ("identity", "2023-01-31"),
    "Microsoft.OperationalInsights/workspaces": ("log workspace", "2023-09-01"),
    "Microsoft.Insights/components": ("application insights", "2020-02-02"),
    "Microsoft.Insights/actionGroups": ("action group", "2023-01-01"),
    "Microsoft.Insights/metricAlerts": ("metric alert", "2018-03-01"),
    "Microsoft.Insights/scheduledQueryRules": ("query alert", "2023-12-01"),
    "Microsoft.Insights/autoscaleSettings": ("autoscale setting", "2022-10-01"),
    "Microsoft.Network/privateEndpoints": ("private endpoint", "2024-05-01"),
    "Microsoft.Network/privateDnsZones": ("private zone", "2024-06-01"),
    "Microsoft.Network/virtualNetworks": ("network", "2024-05-01"),
    _ML: ("workspace", _ML_API),
    f"{_ML}/onlineEndpoints": ("endpoint", _ML_API),
    f"{_ML}/onlineEndpoints/deployments": ("deployment", _ML_API),
}
# Children of a workspace, which a subscription's list omits.
_CHILDREN = {
    "computes": "cluster",
    "datastores": "datastore",
    "environments": "environment",
    "models": "model",
    "schedules": "schedule",
}
BOOTSTRAPPED = "bootstrap's "
"""Prefix of the kinds of resources that `llmops bootstrap` created: stacks use them, but don't remove them."""
_MADE = "Made by llmops bootstrap"
_VOLATILE = ("systemData", "etag", "provisioningState", "currentNodeCount", "nodeStateCounts", "allocationState")


class Reader(Protocol):
    """The reading half of llmops_kit.clouds.azure.arm.ResourceManager."""

    def find(self, id_: str, api_version: str = ..., /) -> dict[str, Any] | None:
        """Returns the document of a resource id; None if Azure has none."""
        ...

    def list(self, id_: str, api_version: str = ..., /) -> Iterator[dict[str, Any]]:
        """Yields the resources of a collection."""
        ...


def inventory(arm: Reader, subscription: str, only: str = "") -> dict[str, Any]:
    """Returns `kind id` -> description, ids in lower case, without Azure's own resources of every subscription.

    With `only`, resources that need a call each are described only if their id contains it: there may be many others.
    """
    root = f"/subscriptions/{subscription}"
    found: dict[str, Any] = {}
    for kind, document in _all(arm, root, only):
        whose = BOOTSTRAPPED if _is_bootstraps(document) else ""
        found[f"{whose}{kind} {document['id'].lower()}"] = _plain(document)
    return found


def _is_bootstraps(document: dict[str, Any]) -> bool:
    """Returns whether bootstrap created it, by its tags, or for a role assignment, which has none, by its
    description.
    """
    described = (document.get("properties") or {}).get("description", "")
    return (document.get("tags") or {}).get("llmops:managed-by") == "bootstrap" or described == _MADE


def _all(arm: Reader, root: str, only: str) -> Iterator[Described]:
    for group in arm.list(f"{root}/resourcegroups", _GROUPS_API):
        yield "resource group", group
        for budget in arm.list(f"{group['id']}/providers/Microsoft.Consumption/budgets", "2024-08-01"):
            yield "budget", {k: v for k, v in budget.items() if k != "eTag"}
    for listed in arm.list(f"{root}/resources", _GROUPS_API):
        kind, api_version = next((w for t, w in TYPES.items() if t.lower() == listed["type"].lower()), ("", ""))
        if not kind or only not in listed["id"].lower():
            yield kind or listed["type"], listed
        elif document := arm.find(listed["id"], api_version):
            yield kind, document
            yield from _below(arm, kind, document["id"])
    for assignment in arm.list(f"{root}/providers/Microsoft.Authorization/roleAssignments", "2022-04-01"):
        yield "role assignment", assignment


def _below(arm: Reader, kind: str, id_: str) -> Iterator[Described]:
    """Yields children that only their parent lists."""
    if kind == "workspace":
        for path, words in _CHILDREN.items():
            for child in arm.list(f"{id_}/{path}", _ML_API):
                yield words, child
    elif kind == "storage account":
        for container in arm.list(f"{id_}/blobServices/default/containers", "2024-01-01"):
            yield "container", container
    elif kind == "identity":
        for credential in arm.list(f"{id_}/federatedIdentityCredentials", "2023-01-31"):
            yield "federated credential", credential


def deleted(arm: Reader, subscription: str) -> list[str]:
    """Returns the soft-deleted resources, which can be recovered until they are purged."""
    vaults = deleted_vaults(arm, subscription)
    workspaces = f"/subscriptions/{subscription}/providers/Microsoft.OperationalInsights/deletedWorkspaces"
    logs = arm.list(workspaces, "2023-09-01")
    return sorted(id_.lower() for id_ in (*(v["properties"]["vaultId"] for v in vaults), *(w["id"] for w in logs)))


def deleted_vaults(arm: Reader, subscription: str) -> Iterator[dict[str, Any]]:
    """Yields soft-deleted vaults as Azure describes them."""
    return arm.list(f"/subscriptions/{subscription}/providers/Microsoft.KeyVault/deletedVaults", "2024-11-01")


def _plain(document: Any) -> Any:
    """Returns a response without volatile fields, so that two descriptions of the same resource are equal."""
    if isinstance(document, dict):
        return {k: _plain(v) for k, v in document.items() if k not in _VOLATILE}
    if isinstance(document, list):
        return [_plain(each) for each in document]
    return document
