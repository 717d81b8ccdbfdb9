"""The contents of a twin for `status`: services, endpoints, jobs, and what it does not judge."""

from typing import Any

from llmops_twins.aws.services.cloudwatch.cloudwatch import seconds_of
from llmops_twins.aws.twin import AccountTwin

NO_CONTAINERS = "containers are not run: an endpoint serves nothing, a training job fails after its checks"
NOT_DONE = [
    "instance types: an instance is a process or a container of this machine, whatever its type",
    "shadow variants get no requests; a serverless variant is one instance that never scales to zero",
    "data capture by the platform (DataCaptureConfig): nothing is written",
    "events of CloudTrail's trails: nothing is recorded or delivered",
    "composite alarms, metric math but of alarms by point, anomaly detectors and metric streams: refused",
    "scheduled scaling actions, and L, W and # in a cron expression: refused",
]


def of(twin: AccountTwin) -> dict[str, Any]:
    """Returns services in use, endpoints and jobs by name with their status, and the list of what is not judged."""
    return {
        "services": services(twin),
        "endpoints": _statuses(twin, "endpoint", "Endpoint"),
        "jobs": _statuses(twin, "training-job", "TrainingJob"),
        "instances": twin.fleet.describe(),
        "faults": twin.state.get("faults", {}),
        "time": f"a minute of alarms and cooldowns lasts {seconds_of(twin, 60):.2f} s here",
        "not_judged": [*([] if twin.settings.containers == "run" else [NO_CONTAINERS]), *NOT_DONE, *twin.unjudged],
    }


def services(twin: AccountTwin) -> list[str]:
    """Returns the services that were used since the state was empty."""
    from moto.core.base_backend import BackendDict

    used = {str(owner.service_name) for owner in getattr(BackendDict, "_instances") if owner.get(twin.account)}  # noqa: B009
    return sorted(used | {"sagemaker"})


def _statuses(twin: AccountTwin, kind: str, prefix: str) -> dict[str, str]:
    regions = twin.state.get("sagemaker", {}).values()
    found = [document for region in regions for document in region.get(kind, {}).values()]
    return {document[f"{prefix}Name"]: document[f"{prefix}Status"] for document in found}
