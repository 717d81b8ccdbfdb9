"""What a runner reports of deployments and jobs, written into their documents. Call with the twin's lock held."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

ENDED = ("Completed", "Failed", "Canceled", "NotResponding")


@dataclass(frozen=True)
class Failure:
    """Why a deployment or a job failed, in Azure's words. `code`: "ImageBuildFailure", "ResourceNotReady", …"""

    code: str
    message: str


def deployment_settled(twin: Any, deployment_id: str, failure: Failure | None = None) -> None:
    """All of a deployment's instances are ready, or it failed; a deployment that is gone meanwhile is passed over."""
    if twin.find(deployment_id):
        twin.settle(deployment_id, failure and (failure.code, failure.message))


def job_moved(twin: Any, job_id: str, status: str, failure: Failure | None = None) -> None:
    """A job has got another status (Preparing, Queued, Running, Finalizing, Completed, Failed, Canceled, …). One that
    has ended stays as it ended.
    """
    job = twin.find(job_id)
    if not job or job["properties"]["status"] in ENDED:
        return
    now = datetime.now(UTC).isoformat()
    job["properties"]["status"] = status
    times = job.setdefault("times", {})
    times.setdefault("ended" if status in ENDED else status.lower(), now)
    if failure:
        job["failure"] = {"code": failure.code, "message": failure.message}
    twin.keep(job)
