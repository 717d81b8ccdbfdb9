"""A runner's reports on deployments and jobs, written into their documents. Call with the twin's lock held."""

from collections.abc import Mapping
from dataclasses import dataclass

from llmops_twins.azure.arm import operations
from llmops_twins.azure.protocol.calls import Document, timestamp
from llmops_twins.azure.twin import TenantTwin

ENDED = ("Completed", "Failed", "Canceled", "NotResponding")
"""Final statuses of a job."""


@dataclass(frozen=True)
class RunFailure:
    """The reason of a deployment's or job's failure, in Azure's words. `code`: "ImageBuildFailure", "ResourceNotReady",
    …
    """

    code: str
    message: str


def deployment_settled(twin: TenantTwin, deployment_id: str, failure: RunFailure | None = None) -> None:
    """Records that all instances of a deployment are ready, or that it failed; a deleted one is ignored."""
    document = twin.find(deployment_id)
    if document is None:
        return
    document.pop("_failure", None)
    if failure is None:
        operations.succeed(twin, deployment_id)
    else:
        document["_failure"] = {"code": failure.code, "message": failure.message}
        operations.fail(twin, deployment_id, failure.code, failure.message)


def job_moved(twin: TenantTwin, job_id: str, status: str, failure: RunFailure | None = None) -> None:
    """Records a job's new status (Preparing, Queued, Running, Finalizing, Completed, Failed, Canceled, …). An end
    status is final. `_times` has the first time of each status, `_failure` the reason of a failure.
    """
    job = twin.find(job_id)
    if not job or job["properties"]["status"] in ENDED:
        return
    now = timestamp()
    job["properties"]["status"] = status
    job.setdefault("_times", {}).setdefault(status, now)
    if failure:
        job["_failure"] = {"code": failure.code, "message": failure.message}
    twin.keep(job)


class NothingRuns:
    """Runs nothing, and reports at once: deployments are ready, jobs complete. For `containers="none"`."""

    def __init__(self, twin: TenantTwin) -> None:
        self._twin = twin

    def deployment_wanted(self, document: Document) -> None:
        deployment_settled(self._twin, document["id"])

    def deployment_gone(self, deployment_id: str) -> None: ...

    def endpoint_changed(self, document: Document) -> None: ...

    def endpoint_gone(self, endpoint_id: str) -> None: ...

    def job_started(self, document: Document) -> None:
        for status in ("Starting", "Running", "Completed"):
            job_moved(self._twin, document["id"], status)

    def job_cancelled(self, job_id: str) -> None:
        job_moved(self._twin, job_id, "Canceled")

    def deployment_logs(self, deployment_id: str, container: str, tail: int) -> str:
        return ""

    def scoring_url(self, endpoint_id: str) -> str:
        return self._twin.url

    def node_states(self, compute_id: str) -> Mapping[str, int]:
        return {}
