"""What a subscription allows of the machines that endpoints take: vCPUs of a family of sizes, in a location.

https://learn.microsoft.com/rest/api/azureml/usages/list
https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas
"""

import math

from contract.errors import KitError
from llmops.plan.quotas import QuotaNeed
from llmops.platforms.azure.arm import ML_API
from llmops.platforms.azure.clients import Clients
from llmops.platforms.azure.preflight import clients_of, region_of
from llmops.stacks import PulumiStack

_SPARE = 1.2  # what Azure ML asks for beyond a deployment's own machines, for its updates


def quotas_of(stack: PulumiStack, needed: dict[str, int]) -> list[QuotaNeed]:
    """`quotas_for` of a stack's subscription and location."""
    return quotas_for(clients_of(stack), region_of(stack), needed)


def quotas_for(clients: Clients, location: str, needed: dict[str, int]) -> list[QuotaNeed]:
    """What the subscription allows of each family of sizes; not known where Azure won't say.

    Args:
        clients: of the subscription.
        location: such as westeurope.
        needed: VM size -> machines.
    """
    root = f"/subscriptions/{clients.subscription}/providers/Microsoft.MachineLearningServices/locations/{location}"
    try:
        sizes = {s["name"].lower(): s for s in (clients.arm.find(f"{root}/vmSizes") or {}).get("value", [])}
        usages = {u["name"]["value"].lower(): u for u in clients.arm.list(f"{root}/usages", ML_API)}
    except KitError:
        sizes, usages = {}, {}  # not allowed to ask
    cores: dict[str, int] = {}
    unknown = []
    for size, machines in needed.items():
        known = sizes.get(size.lower())
        if known is None:
            unknown.append(QuotaNeed(f"machines of size {size}", "", machines, None))
            continue
        family = str(known["family"])
        cores[family] = cores.get(family, 0) + math.ceil(machines * int(known["vCPUs"]) * _SPARE)
    return [_need(family, count, usages.get(family.lower())) for family, count in cores.items()] + unknown


def _need(family: str, count: int, usage: dict[str, object] | None) -> QuotaNeed:
    allowed = None if usage is None else int(str(usage["limit"]))
    return QuotaNeed(f"vCPUs of {family} for Azure ML", family, count, allowed)
