"""Azure ML's VM sizes, and the subscription's quota of cores for each family.

https://learn.microsoft.com/azure/machine-learning/reference-managed-online-endpoints-vm-sku-list
https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas
"""

import math
from dataclasses import dataclass

from llmops_twins.azure.ml.ml_bodies import WORKSPACES
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document, Reply
from llmops_twins.azure.twin import TenantTwin

LOCATIONS = "Microsoft.MachineLearningServices/locations"
LOW_PRIORITY = "Total Cluster LowPriority Regional vCPUs"
TOTAL = "Total Cluster Dedicated Regional vCPUs"
LIMITS = {LOW_PRIORITY: 100, TOTAL: 350}
LIMIT_OF_A_FAMILY = 100
RESERVE = 1.2
"""Azure ML reserves 20 % more machines of most sizes for upgrades of endpoints, which count towards the quota."""


@dataclass(frozen=True)
class VmSize:
    """A VM size: its family as quotas name it, cores, memory in GiB, and GPUs."""

    name: str
    family: str
    cores: int
    memory: float
    gpus: int = 0
    reserve: bool = True
    on_request: bool = False

    @property
    def quota(self) -> str:
        """The name of the family's quota."""
        return f"Standard {self.family} Family Cluster Dedicated vCPUs"

    def cores_for(self, instances: int) -> int:
        """Returns the cores that this many instances of a deployment take from the quota."""
        return math.ceil(RESERVE * instances) * self.cores if self.reserve else instances * self.cores


_SIZES = [
    *(
        VmSize(f"Standard_DS{n}_v2", "DSv2", c, m)
        for n, c, m in ((1, 1, 3.5), (2, 2, 7), (3, 4, 14), (4, 8, 28), (5, 16, 56))
    ),
    *(VmSize(f"Standard_D{c}s_v3", "DSv3", c, 4 * c) for c in (2, 4, 8, 16, 32)),
    *(VmSize(f"Standard_D{c}as_v4", "DASv4", c, 4 * c) for c in (2, 4, 8, 16, 32)),
    *(VmSize(f"Standard_D{c}s_v5", "DSv5", c, 4 * c) for c in (2, 4, 8, 16, 32)),
    *(VmSize(f"Standard_E{c}s_v3", "ESv3", c, 8 * c) for c in (2, 4, 8, 16, 32)),
    *(VmSize(f"Standard_E{c}s_v5", "ESv5", c, 8 * c) for c in (2, 4, 8, 16, 32)),
    *(VmSize(f"Standard_F{c}s_v2", "FSv2", c, 2 * c) for c in (2, 4, 8, 16, 32, 72)),
    *(
        VmSize(f"Standard_NC{c}as_T4_v3", "NCASv3_T4", c, m, g)
        for c, m, g in ((4, 28, 1), (8, 56, 1), (16, 110, 1), (64, 440, 4))
    ),
    *(VmSize(f"Standard_NC{c}s_v3", "NCSv3", c, m, g) for c, m, g in ((6, 112, 1), (12, 224, 2), (24, 448, 4))),
    *(VmSize(f"Standard_NV{c}ads_A10_v5", "NVADSA10v5", c, m, g) for c, m, g in ((36, 440, 1), (72, 880, 2))),
    *(
        VmSize(f"Standard_NC{c}ads_A100_v4", "NCADSA100v4", c, m, g, False, True)
        for c, m, g in ((24, 220, 1), (48, 440, 2), (96, 880, 4))
    ),
    VmSize("Standard_NC40ads_H100_v5", "NCADSH100v5", 40, 320, 1, False, True),
    VmSize("Standard_NC80adis_H100_v5", "NCADSH100v5", 80, 640, 2, False, True),
    VmSize("Standard_ND40rs_v2", "NDv2", 40, 672, 8, False, True),
    VmSize("Standard_ND96asr_v4", "NDASv4_A100", 96, 900, 8, False, True),
    VmSize("Standard_ND96amsr_A100_v4", "NDAMSv4_A100", 96, 1900, 8, False, True),
    VmSize("Standard_ND96isr_H100_v5", "NDSH100v5", 96, 1900, 8, False, True),
]
SIZES = {size.name.lower(): size for size in _SIZES}


def install(twin: TenantTwin) -> None:
    """Registers the lists of a location."""
    twin.action(LOCATIONS, "vmSizes", _vm_sizes, f"{LOCATIONS}/vmSizes/read", "GET")
    twin.action(LOCATIONS, "usages", _usages, f"{LOCATIONS}/usages/read", "GET")


def size(name: str, target: str) -> VmSize:
    """Returns a size by its name, in any case.

    Raises:
        ArmError: 400, the size is unknown.
    """
    found = SIZES.get(name.lower())
    if found is None:
        raise ArmError(400, "InvalidVmSize", f"The specified VM size {name} is not supported in this location.", target)
    return found


def limit(twin: TenantTwin, quota: str) -> int:
    """Returns the cores that a quota allows on this twin: its setting `quotas`, or the default of new subscriptions."""
    own = twin.settings.quotas
    if quota in own:
        return int(own[quota])
    on_request = any(each.quota == quota and each.on_request for each in _SIZES)
    return LIMITS.get(quota, 0 if on_request else LIMIT_OF_A_FAMILY)


def used(twin: TenantTwin, quota: str, without: str = "") -> int:
    """Returns the cores of a quota that deployments and clusters use.

    Args:
        twin: the subscription.
        quota: name of the quota.
        without: id of a resource that is about to change, and is not counted.
    """
    total = 0
    for document in list(twin.resources.values()):
        if document["id"].lower() != without.lower():
            total += sum(cores for each, cores in _uses(twin, document) if quota in each)
    return total


def check_deployment(twin: TenantTwin, deployment_id: str, instance_type: str, instances: int) -> None:
    """Refuses a deployment that exceeds its family's quota.

    Raises:
        ArmError: 400 OutOfQuota.
    """
    wanted = size(instance_type, "properties.instanceType")
    for quota in (wanted.quota, TOTAL):
        needed, there = wanted.cores_for(instances), used(twin, quota, without=deployment_id)
        if there + needed > limit(twin, quota):
            raise ArmError(
                400,
                "OutOfQuota",
                f"Not enough quota available for {wanted.name} in SubscriptionId {twin.subscription}. {quota}: current "
                f"usage/limit: {there}/{limit(twin, quota)}. Additional needed: {needed}. Please see troubleshooting "
                "guide, available here: https://aka.ms/oe-tsg#error-outofquota",
                "properties.instanceType",
            )


def check_cluster(twin: TenantTwin, vm_size: str, nodes: int, *, low_priority: bool) -> None:
    """Refuses a cluster whose nodes could never all run.

    Raises:
        ArmError: 400 ClusterCoreQuotaReached.
    """
    wanted = size(vm_size, "properties.properties.vmSize")
    for quota in (LOW_PRIORITY,) if low_priority else (wanted.quota, TOTAL):
        if nodes * wanted.cores > limit(twin, quota):
            raise ArmError(
                400,
                "ClusterCoreQuotaReached",
                f"Operation results in exceeding quota limits of {quota}. Maximum allowed: {limit(twin, quota)}, "
                f"Additional requested: {nodes * wanted.cores}. Read more about quota limits at "
                "https://aka.ms/AzurePerVMQuotaLimits",
                "properties.properties.scaleSettings.maxNodeCount",
            )


def _uses(twin: TenantTwin, document: Document) -> list[tuple[tuple[str, ...], int]]:
    """Returns the quotas from which a resource takes cores, and how many."""
    properties = document.get("properties") or {}
    if document["type"] == f"{WORKSPACES}/onlineEndpoints/deployments":
        rented = SIZES.get(str(properties.get("instanceType")).lower())
        if rented and properties.get("provisioningState") != "Failed":
            return [((rented.quota, TOTAL), rented.cores_for(int((document.get("sku") or {}).get("capacity") or 1)))]
    if document["type"] == f"{WORKSPACES}/computes":
        inner = properties.get("properties") or {}
        rented = SIZES.get(str(inner.get("vmSize")).lower())
        nodes = sum(twin.running.node_states(document["id"]).values())
        quotas = (
            (LOW_PRIORITY,) if inner.get("vmPriority") == "LowPriority" else (rented.quota if rented else "", TOTAL)
        )
        if rented and nodes:
            return [(quotas, nodes * rented.cores)]
    return []


def _vm_sizes(twin: TenantTwin, call: ArmCall, document: Document | None) -> Reply:
    found = [
        {
            "name": each.name,
            "family": f"standard{each.family}Family",
            "vCPUs": each.cores,
            "gpus": each.gpus,
            "memoryGB": each.memory,
            "lowPriorityCapable": True,
            "premiumIO": True,
            "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
        }
        for each in _SIZES
    ]
    return Reply(200, {"value": found})


def _usages(twin: TenantTwin, call: ArmCall, document: Document | None) -> Reply:
    return Reply(200, {"value": [_usage(twin, call, quota, key, kind) for quota, key, kind in _all_quotas()]})


def _usage(twin: TenantTwin, call: ArmCall, quota: str, key: str, kind: str) -> Document:
    type_ = f"{WORKSPACES}/computes/{kind}/usages"
    place = f"/subscriptions/{twin.subscription}/providers/{LOCATIONS}/{call.id.rpartition('/')[2]}"
    return {
        "id": f"{place}/computes/{kind}/usages/{key}",
        "type": type_,
        "unit": "Count",
        "currentValue": used(twin, quota),
        "limit": limit(twin, quota),
        "name": {"value": key, "localizedValue": quota},
    }


def _all_quotas() -> list[tuple[str, str, str]]:
    families = {each.quota: f"standard{each.family}Family" for each in _SIZES}
    return [
        (TOTAL, "TotalDedicatedCores", "dedicatedCores"),
        *((quota, key, "dedicatedCores") for quota, key in families.items()),
        (LOW_PRIORITY, "TotalLowPriorityCores", "lowPriorityCores"),
    ]
