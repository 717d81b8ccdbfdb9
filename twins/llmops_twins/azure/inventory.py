"""The contents of a twin for `status`: resources by type, endpoints, jobs, soft-deleted resources, and what it does not
judge.
"""

from collections import Counter
from typing import Any

from llmops_twins.azure.arm import checks, soft_delete
from llmops_twins.azure.twin import TenantTwin

NO_CONTAINERS = "containers are not run: an endpoint serves nothing, a job runs nothing"
NOT_DONE = [
    "VM sizes: an instance is a process or a container of this machine, whatever its size",
    "networks: public and private addresses are all on this machine; private endpoints change nothing",
]
ENDPOINTS = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
JOBS = "Microsoft.MachineLearningServices/workspaces/jobs"


def of(twin: TenantTwin) -> dict[str, Any]:
    """Returns resources by type, endpoints and jobs by name with their state, soft-deleted resources, and the list of
    what is not judged.
    """
    types = Counter(document["type"] for document in twin.resources.values())
    return {
        "resources": dict(sorted(types.items())),
        "endpoints": _states(twin, ENDPOINTS, "provisioningState"),
        "jobs": _states(twin, JOBS, "status"),
        "instances": twin.instances(),
        "deleted": sorted(document["id"] for document in soft_delete.deleted(twin).values()),
        "faults": twin.state.get("faults", {}),
        "time": f"a minute of alerts and cooldowns lasts {twin.scaled(60):.2f} s here",
        "not_judged": _not_judged(twin),
    }


def _not_judged(twin: TenantTwin) -> list[str]:
    """Returns the services' lists, and each API version that was served as another one."""
    served = twin.state.get(checks.SUBSTITUTED, {})
    versions = [
        f"api-versions: {asked} is unknown, and was served as {known}" for asked, known in sorted(served.items())
    ]
    containers = [] if twin.settings.containers == "run" else [NO_CONTAINERS]
    return [*containers, *NOT_DONE, *twin.unjudged, *versions]


def _states(twin: TenantTwin, type_: str, member: str) -> dict[str, str]:
    found = [document for document in twin.resources.values() if document["type"].lower() == type_.lower()]
    return {document["name"]: document["properties"].get(member, "") for document in found}
