"""Reads the state and traffic of online endpoints of Azure Machine Learning, and builds the body that changes traffic.

https://learn.microsoft.com/rest/api/azureml/online-endpoints/create-or-update
"""

from collections.abc import Mapping
from typing import Any

from llmops_kit.core.rollout import OWNER_TAG, Owner

_WRITABLE = ("authMode", "compute", "description", "properties", "publicNetworkAccess")
Document = dict[str, Any]


def state_of(document: Mapping[str, Any] | None) -> str:
    """Returns Creating, Updating, Deleting, Succeeded, Failed or Canceled; empty if there is no resource."""
    return str(((document or {}).get("properties") or {}).get("provisioningState", ""))


def traffic_of(live: Mapping[str, Any] | None, key: str = "traffic") -> dict[str, int]:
    """Returns deployment -> percent of the requests, without deployments that get none."""
    found: Mapping[str, Any] = (live or {}).get("properties", {}).get(key) or {}
    return {name: int(percent) for name, percent in found.items() if percent}


def owner_of(live: Mapping[str, Any] | None) -> Owner | None:
    """Returns the rollout that owns the weights; None if no rollout is in progress."""
    return Owner.parse(((live or {}).get("tags") or {}).get(OWNER_TAG, ""))


def instances_of(deployment: Mapping[str, Any] | None) -> int:
    """Returns the number of instances of a deployment; 0 if it does not exist."""
    return int(((deployment or {}).get("sku") or {}).get("capacity") or 0)


def with_traffic(
    live: Mapping[str, Any],
    traffic: Mapping[str, int],
    mirror: Mapping[str, int] | None = None,
    owner: Owner | None = None,
) -> Document:
    """Returns the request body that changes only an endpoint's weights: Azure has no call for weights alone.

    Args:
        live: the endpoint's current document.
        traffic: percent by deployment; 0 in all, or 100.
        mirror: percent of the requests that are copied to one deployment without traffic.
        owner: new owner of the weights; None: no rollout.
    """
    tags = {key: value for key, value in (live.get("tags") or {}).items() if key != OWNER_TAG}
    properties = {key: live["properties"][key] for key in _WRITABLE if live["properties"].get(key) is not None}
    identity = live.get("identity") or {}
    # Ids of assigned identities, without their read-only members.
    assigned = {id_: {} for id_ in identity.get("userAssignedIdentities") or {}}
    body: Document = {key: live[key] for key in ("location", "kind", "sku") if live.get(key)}
    if "type" in identity:
        body["identity"] = {"type": identity["type"]} | ({"userAssignedIdentities": assigned} if assigned else {})
    body["tags"] = tags | ({OWNER_TAG: str(owner)} if owner else {})
    return body | {"properties": properties | {"traffic": dict(traffic), "mirrorTraffic": dict(mirror or {})}}
