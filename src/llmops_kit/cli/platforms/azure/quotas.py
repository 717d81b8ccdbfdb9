"""Reads a subscription's quotas of machines for endpoints and runs: vCPUs of a family of sizes, in a location.

https://learn.microsoft.com/rest/api/azureml/usages/list
https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas
"""

import math
from typing import Any

from llmops_kit.cli.interfaces.quotas import Needed, QuotaNeed
from llmops_kit.cli.platforms.azure.preflight import clients_of, region_of
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.clouds.azure.arm import ResourceManager
from llmops_kit.clouds.azure.names import ML_API, workspace_id
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.documents.outputs import AzureOutput
from llmops_kit.core.errors import KitError

# Quota that Azure ML requires in addition, for updates of a deployment, in whole instances:
# https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas#virtual-machine-quota-allocation-for-deployment
_SPARE = 1.2
_LOW_PRIORITY = "all low-priority machines"
_MORE = "request more on the portal's Quotas page, Azure Machine Learning"


def quotas_of(stack: PulumiStack, needed: Needed) -> list[QuotaNeed]:
    """Returns `quotas_for` of a stack's subscription and location."""
    try:
        deployed = stack.outputs().azure
    except KitError:
        deployed = None  # never deployed
    return quotas_for(clients_of(stack), region_of(stack), needed, deployed)


def quotas_for(
    session: AzureSession, location: str, needed: Needed, deployed: AzureOutput | None = None
) -> list[QuotaNeed]:
    """Returns the subscription's quota of each family of sizes; unknown if Azure does not return it.

    Low-priority machines have one quota for all families. The machines that a stack has already are part of what it
    needs, so they don't count as taken.

    Args:
        session: of the subscription.
        location: such as westeurope.
        needed: of endpoints, and of clusters or runs.
        deployed: the stack's resources; None: it has none.
    """
    root = f"/subscriptions/{session.subscription}/providers/Microsoft.MachineLearningServices/locations/{location}"
    sizes, usages, refused = {}, {}, ""
    try:
        sizes = {s["name"].lower(): s for s in (session.arm.find(f"{root}/vmSizes") or {}).get("value", [])}
        usages = {_family(u): u for u in session.arm.list(f"{root}/usages", ML_API)}
    except KitError as e:
        refused = f"Azure's quotas can't be read: {e.what}"
    cores: dict[str, int] = {}
    unknown = []
    for machines, count in needed.items():
        size = sizes.get(machines.instance_type.lower())
        if size is None:
            why = refused or f"{location} does not offer this size for Azure ML"
            unknown.append(QuotaNeed(f"machines of size {machines.instance_type}", "", count, None, why))
            continue
        family = _LOW_PRIORITY if machines.use == "spot training job" else str(size["family"])
        spare = _SPARE if machines.use == "endpoint" else 1
        cores[family] = cores.get(family, 0) + math.ceil(count * spare) * int(size["vCPUs"])
    own = _own_cores(session.arm, needed, deployed, sizes) if usages else None
    known = [_need(family, count, usages.get(family.lower()), refused, own) for family, count in cores.items()]
    return known + unknown


def _own_cores(
    arm: ResourceManager, needed: Needed, deployed: AzureOutput | None, sizes: dict[str, Any]
) -> dict[str, int] | None:
    """Returns the cores of each family that a stack's clusters and endpoints have now, as far as needs name such uses;
    None if they can't be read.
    """
    found: dict[str, int] = {}
    if deployed is None or not deployed.workspace:
        return found
    uses, workspace = {machines.use for machines in needed}, workspace_id(deployed)

    def add(size: str, count: int, *, low_priority: bool = False) -> None:
        if known := sizes.get(size.lower()):
            family = (_LOW_PRIORITY if low_priority else str(known["family"])).lower()
            found[family] = found.get(family, 0) + count * int(known["vCPUs"])

    try:
        for name in deployed.computes if uses != {"endpoint"} else ():
            cluster = ((arm.find(f"{workspace}/computes/{name}") or {}).get("properties") or {}).get("properties") or {}
            nodes, low = int(cluster.get("currentNodeCount") or 0), cluster.get("vmPriority") == "LowPriority"
            add(str(cluster.get("vmSize")), nodes, low_priority=low)
        for name in deployed.endpoints.values() if "endpoint" in uses else ():
            for each in arm.list(f"{workspace}/onlineEndpoints/{name}/deployments"):
                capacity = int((each.get("sku") or {}).get("capacity") or 1)
                add(str(each["properties"].get("instanceType")), math.ceil(_SPARE * capacity))
    except KitError:
        return None
    return found


def _family(usage: dict[str, Any]) -> str:
    """Returns the family whose cores a usage counts."""
    value, words = str(usage["name"]["value"]).lower(), str(usage["name"].get("localizedValue", "")).lower()
    total = words.startswith("total") or value.startswith("total")
    return _LOW_PRIORITY if total and "lowpriority" in f"{value} {words}".replace("-", "") else value


def _need(family: str, count: int, usage: dict[str, Any] | None, refused: str, own: dict[str, int] | None) -> QuotaNeed:
    name = f"vCPUs of {family} for Azure ML"
    if usage is None:
        return QuotaNeed(name, family, count, None, refused or "Azure lists no such quota")
    used = int(usage.get("currentValue") or 0)
    taken = 0 if own is None else max(0, used - own.get(family.lower(), 0))
    return QuotaNeed(name, family, count, int(str(usage["limit"])), "", _MORE, taken=taken)
