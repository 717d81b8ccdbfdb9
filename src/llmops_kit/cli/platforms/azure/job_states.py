"""State, history and cost of a job on Azure Machine Learning, from its resource and its run's details.

https://learn.microsoft.com/rest/api/azureml/jobs/get
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from llmops_kit.cli.machines.prices import Prices
from llmops_kit.cli.platforms.cloud_runs import Job
from llmops_kit.core.documents.outputs import AzureCompute
from llmops_kit.core.documents.run import RunState, RunStatus

DETAILS = "runDetails"
"""Key in a job for its details from the run history."""
FAILURE = "failure"
"""Key in a job for the reason of its failure that its trainer wrote."""
_STATUSES: dict[str, RunStatus] = {
    "Completed": "completed",
    "Failed": "failed",
    "NotResponding": "failed",
    "Canceled": "stopped",
}
_STORY = {
    "NotStarted": "job created",
    "Provisioning": "starting its nodes",
    "Preparing": "preparing its image",
    "Starting": "starting its nodes",
    "Queued": "waiting for a node (also after a preemption)",
    "Running": "job running",
    "Finalizing": "storing its results",
    "CancelRequested": "stopping the job",
    "Completed": "job completed",
    "Failed": "job failed",
    "Canceled": "job stopped",
    "NotResponding": "job not responding: Azure lost its node",
}
_NO_REASON = "Azure gives no reason; `llmops runs follow` shows its log"


def run_state(run: str, jobs: Sequence[Job], clusters: dict[str, AzureCompute], prices: Prices) -> RunState:
    """Returns a run's state from its jobs: status, times, reason of a failure, and cost.

    Args:
        run: its id.
        jobs: its attempts, oldest first; none: it was prepared, but never started.
        clusters: of the stack, by name.
        prices: of the location.
    """
    if not jobs:
        return RunState.new(id=run, status="pending")
    job = jobs[-1]
    status = _STATUSES.get(status_of(job), "running")
    return RunState.new(
        id=run,
        status=status,
        started=created(jobs[0]),
        ended=_text(_detail(job, "endTimeUtc")) if has_ended(job) else "",
        failure=reason(job)[:1024] if status == "failed" else "",
        usd=cost(jobs, clusters, prices),
    )


def status_of(job: Job) -> str:
    """Returns a job's status in Azure's terms."""
    return str(job.get("properties", {}).get("status", ""))


def has_ended(job: Job) -> bool:
    """Returns whether a job's status is final: Completed, Failed, NotResponding or Canceled."""
    return status_of(job) in _STATUSES


def created(job: Job) -> str:
    """Returns when a job was created: UTC, ISO 8601, seconds."""
    return _text(moment(job.get("systemData", {}).get("createdAt")))


def reason(job: Job) -> str:
    """Returns why a job failed: the trainer's message, else Azure's."""
    if said := str(job.get(FAILURE, "")).strip():
        return said
    error = (job.get(DETAILS, {}).get("error") or {}).get("error") or {}
    return str(error.get("message", "")).strip() or _NO_REASON


def words(status: str) -> str:
    """Returns a description of Azure's status of a job; the status itself, if it needs none."""
    return _STORY.get(status, status)


def cost(jobs: Sequence[Job], clusters: dict[str, AzureCompute], prices: Prices) -> float | None:
    """Returns the dollars that a run's jobs have cost so far; None if a VM size's price is unknown.

    Nodes are counted from a job's start to its end, without their idle time afterwards.
    """
    amounts = [_cost(job, clusters, prices) for job in jobs]
    return None if None in amounts else round(sum(a for a in amounts if a), 6)


def bill(jobs: Sequence[Job], clusters: dict[str, AzureCompute], prices: Prices) -> str:
    """Returns a run's cost in words; empty if its last job never ran."""
    seconds = sum(_seconds(job) for job in jobs)
    if not seconds:
        return ""
    usd, cluster = cost(jobs, clusters, prices), clusters.get(cluster_of(jobs[-1]))
    kind = f"{cluster.vm_size}{' (low priority)' if cluster.spot else ''}" if cluster else cluster_of(jobs[-1])
    text = f"{_nodes(jobs[-1])} x {kind}, for {seconds:.0f} s: "
    return text + (f"${usd:.4f}" if usd is not None else "no price is known (`llmops plan prices refresh`)")


def cluster_of(job: Job) -> str:
    """Returns the name of the cluster that a job was sent to."""
    return str(job["properties"].get("computeId") or "").rpartition("/")[2]


def _cost(job: Job, clusters: dict[str, AzureCompute], prices: Prices) -> float | None:
    seconds = _seconds(job)
    if not seconds:
        return 0.0
    cluster = clusters.get(cluster_of(job))
    price = prices.instance("spot" if cluster.spot else "training", cluster.vm_size) if cluster else None
    return price.amount * _nodes(job) * seconds / 3600 if price else None


def _nodes(job: Job) -> int:
    return int((job["properties"].get("resources") or {}).get("instanceCount") or 1)


def _seconds(job: Job) -> float:
    """Returns the seconds that each node was busy so far."""
    if not (began := _detail(job, "startTimeUtc")):
        return 0.0
    return max(0.0, ((_detail(job, "endTimeUtc") or datetime.now(UTC)) - began).total_seconds())


def _detail(job: Job, key: str) -> datetime | None:
    return moment(job.get(DETAILS, {}).get(key))


def moment(text: str | None) -> datetime | None:
    """Parses a time from Azure: up to seven decimals of a second, UTC without a zone; None if there is none."""
    if not text:
        return None
    whole, _, fraction = text.removesuffix("Z").removesuffix("+00:00").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6] or '0'}").replace(tzinfo=UTC)


def _text(when: datetime | None) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ") if when else ""
