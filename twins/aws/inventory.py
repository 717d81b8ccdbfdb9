"""What `status` tells of a twin: services, endpoints, jobs, and what it does not judge."""

from typing import Any

from twins.aws.twin import Twin

NOT_DONE = [
    "no container runs: an endpoint serves nothing, a training job ends Failed once its permissions were judged",
    "signatures of requests: the access key is looked up, the secret is not checked",
]


def of(twin: Twin) -> dict[str, Any]:
    """Services with anything in them, endpoints and jobs by name with their status, what is not judged."""
    sagemaker = twin.state.get("sagemaker", {})
    return {
        "services": services(twin),
        "endpoints": {name: found["EndpointStatus"] for name, found in sagemaker.get("endpoints", {}).items()},
        "jobs": {name: found["TrainingJobStatus"] for name, found in sagemaker.get("training-jobs", {}).items()},
        "faults": twin.state.get("faults", []),
        "not_judged": [*NOT_DONE, *twin.unjudged],
    }


def services(twin: Twin) -> list[str]:
    """Services that were used since the state was empty."""
    from moto.core.base_backend import BackendDict

    used = {str(owner.service_name) for owner in getattr(BackendDict, "_instances") if owner.get(twin.account)}  # noqa: B009
    return sorted(used | {"sagemaker"})
