"""Compute clusters for jobs: AmlCompute, scaled to the demand of jobs.

https://learn.microsoft.com/rest/api/azureml/compute

Unsure (70 %): the rules are the reference's, which names no codes; codes and messages are assumed.
"""

from llmops_twins.azure.ml import sizes
from llmops_twins.azure.ml.ml_bodies import WORKSPACES, judged, refuse_changes, writable
from llmops_twins.azure.ml.ml_documents import now, seconds, stamp, with_identity
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document
from llmops_twins.azure.protocol.kinds import STATUS, ResourceKind
from llmops_twins.azure.twin import TenantTwin

TYPE = f"{WORKSPACES}/computes"
SECONDS = 30.0
STATES = ("idle", "running", "preparing", "unusable", "leaving", "preempted")
_FIXED = ("vmSize", "vmPriority", "subnet", "osType", "enableNodePublicIp", "isolatedNetwork")


def install(twin: TenantTwin) -> None:
    """Registers the kind and its actions."""
    twin.kind(
        ResourceKind(
            TYPE,
            put=_put,
            deleting=_deleting,
            show=lambda twin, document: _shown(twin, document),
            name=r"(?!.*-\d+$)[a-zA-Z][a-zA-Z0-9-]{2,23}",
            seconds=SECONDS,
            polled={"PUT": STATUS},
            location=True,
        )
    )


def _put(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = judged("ComputeResource", call.method, call.body)
    properties = body.get("properties") or {}
    if properties.get("computeType") != "AmlCompute":
        kind = properties.get("computeType")
        raise ArmError(400, "UserError", f"Computes of type {kind} are not on this twin.", "properties.computeType")
    cluster = properties.get("properties") or {}
    cluster = {"osType": "Linux", "vmPriority": "Dedicated", "enableNodePublicIp": True, **cluster}
    properties["properties"] = cluster
    if not cluster.get("vmSize"):
        raise ArmError(400, "ValidationError", "vmSize is required.", "properties.properties.vmSize")
    scale = _scale(cluster)
    if there:
        _check_unchanged(there, body, cluster)
    low = cluster["vmPriority"] == "LowPriority"
    sizes.check_cluster(twin, cluster["vmSize"], scale["maxNodeCount"], low_priority=low)
    with_identity(twin, call, body, there)
    _check_subnet(twin, cluster)
    properties["computeLocation"] = properties.get("computeLocation") or body["location"]
    properties["isAttachedCompute"] = False
    properties["disableLocalAuth"] = bool(properties.get("disableLocalAuth", True))
    properties["createdOn"] = there["properties"]["createdOn"] if there else now()
    properties["modifiedOn"] = now()
    return stamp(call, there, body)


def _scale(cluster: Document) -> Document:
    scale = cluster.get("scaleSettings")
    where = "properties.properties.scaleSettings"
    if not scale:
        raise ArmError(400, "ValidationError", "scaleSettings is required.", where)
    scale.setdefault("minNodeCount", 0)
    scale.setdefault("nodeIdleTimeBeforeScaleDown", "PT120S")
    seconds(scale["nodeIdleTimeBeforeScaleDown"], f"{where}.nodeIdleTimeBeforeScaleDown")
    if not 0 <= scale["minNodeCount"] <= scale["maxNodeCount"]:
        raise ArmError(
            400, "ValidationError", "minNodeCount must be between 0 and maxNodeCount.", f"{where}.minNodeCount"
        )
    return scale


def _check_unchanged(there: Document, body: Document, cluster: Document) -> None:
    before = there["properties"]["properties"]
    for name in _FIXED:
        if str(before.get(name)).lower() != str(cluster.get(name)).lower():
            message = f"{name} of compute {there['name']} can't be changed in place: delete the compute first."
            raise ArmError(400, "BadRequest", message, f"properties.properties.{name}")
    old = writable("ComputeResource", there)
    for name in ("computeLocation", "disableLocalAuth"):  # a PUT may omit members that have defaults
        body["properties"].setdefault(name, old["properties"][name])
    refuse_changes("ComputeResource", old, body, f"compute {there['name']}")


def _check_subnet(twin: TenantTwin, cluster: Document) -> None:
    subnet = (cluster.get("subnet") or {}).get("id")
    if subnet and twin.find(subnet) is None:
        raise ArmError(400, "UserError", f"The subnet {subnet} was not found.", "properties.properties.subnet.id")


def _deleting(twin: TenantTwin, call: ArmCall, document: Document) -> None:
    """Cancels the cluster's jobs before its deletion. https://learn.microsoft.com/rest/api/azureml/compute/delete
    requires the parameter underlyingResourceAction.

    Unsure (75 %): no source found for the message, which is assumed.

    Raises:
        ArmError: 400, the parameter is missing.
    """
    from llmops_twins.azure.ml import command_jobs

    if call.query.get("underlyingResourceAction") not in ("Delete", "Detach"):
        message = "The query parameter underlyingResourceAction is required: Delete or Detach."
        raise ArmError(400, "BadRequest", message, "underlyingResourceAction")
    command_jobs.cancel_on(twin, document)


def _shown(twin: TenantTwin, document: Document) -> Document:
    states = twin.running.node_states(document["id"])
    total = sum(states.values())
    document["properties"]["properties"] |= {
        "allocationState": "Steady",
        "currentNodeCount": total,
        "targetNodeCount": max(total, document["properties"]["properties"]["scaleSettings"]["minNodeCount"]),
        "nodeStateCounts": {f"{state}NodeCount": states.get(state, 0) for state in STATES},
    }
    return document
