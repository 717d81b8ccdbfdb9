"""Reads a subscription's quotas of machines for endpoints and runs: vCPUs of a family of sizes, in a location.

https://learn.microsoft.com/rest/api/azureml/usages/list
https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas
"""

import math
from typing import Any

from llmops_kit.cli.interfaces.quotas import Needed, QuotaNeed
from llmops_kit.cli.platforms.azure.preflight import clients_of, region_of
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.clouds.azure.names import ML_API
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.errors import KitError

_SPARE = 1.2  # quota that Azure ML requires in addition, for updates of a deployment
_LOW_PRIORITY = "all low-priority machines"
_MORE = "request more on the portal's Quotas page, Azure Machine Learning"


def quotas_of(stack: PulumiStack, needed: Needed) -> list[QuotaNeed]:
    """Returns `quotas_for` of a stack's subscription and location."""
    return quotas_for(clients_of(stack), region_of(stack), needed)


def quotas_for(session: AzureSession, location: str, needed: Needed) -> list[QuotaNeed]:
    """Returns the subscription's quota of each family of sizes; unknown if Azure does not return it.

    Low-priority machines have one quota for all families.

    Args:
        session: of the subscription.
        location: such as westeurope.
        needed: of endpoints, and of clusters or runs.
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
        cores[family] = cores.get(family, 0) + math.ceil(count * int(size["vCPUs"]) * spare)
    return [_need(family, count, usages.get(family.lower()), refused) for family, count in cores.items()] + unknown


def _family(usage: dict[str, Any]) -> str:
    """Returns the family whose cores a usage counts."""
    value, words = str(usage["name"]["value"]).lower(), str(usage["name"].get("localizedValue", "")).lower()
    total = words.startswith("total") or value.startswith("total")
    return _LOW_PRIORITY if total and "lowpriority" in f"{value} {words}".replace("-", "") else value


def _need(family: str, count: int, usage: dict[str, Any] | None, refused: str) -> QuotaNeed:
    name = f"vCPUs of {family} for Azure ML"
    if usage is None:
        return QuotaNeed(name, family, count, None, refused or "Azure lists no such quota")
    return QuotaNeed(name, family, count, int(str(usage["limit"])), "", _MORE)
