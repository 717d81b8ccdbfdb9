"""State, history and cost of a training job, from SageMaker's description of it.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from llmops_kit.cli.machines.prices import Prices
from llmops_kit.cli.platforms.cloud_runs import Job
from llmops_kit.core.documents.run import RunState, RunStatus

ENDED = ("Completed", "Failed", "Stopped")
_STATUSES: dict[str, RunStatus] = {"Completed": "completed", "Failed": "failed", "Stopped": "stopped"}
_STORY = {
    "Starting": "starting its instances",
    "LaunchingMLInstances": "starting its instances",
    "PreparingTrainingStack": "preparing its instances",
    "Downloading": "downloading its inputs",
    "DownloadingTrainingImage": "downloading its image",
    "Pending": "waiting for a warm instance",
    "Training": "job running",
    "Interrupted": "spot capacity was interrupted: waiting for other instances, to resume from the last checkpoint",
    "Restarting": "restarting after an internal error of SageMaker",
    "Uploading": "storing its results",
    "Stopping": "stopping the job: it writes a last checkpoint",
    "Stopped": "job stopped",
    "MaxRuntimeExceeded": "job stopped: it reached `max_hours`",
    "MaxWaitTimeExceeded": "job stopped: no spare capacity within `max_wait_hours`",
    "Completed": "job completed",
    "Failed": "job failed",
}
_LIMITS = {
    "MaxRuntimeExceeded": "it reached max_hours",
    "MaxWaitTimeExceeded": "it waited and ran for max_wait_hours",
}


def run_state(run: str, jobs: Sequence[Job], prices: Prices) -> RunState:
    """Returns a run's state from its jobs: status, times, reason of a failure, and cost.

    Args:
        run: its id.
        jobs: its attempts, oldest first; none: it was prepared, but never started.
        prices: of the region.
    """
    if not jobs:
        return RunState.new(id=run, status="pending")
    job = jobs[-1]
    status = _STATUSES.get(job["TrainingJobStatus"], "running")
    failure = job.get("FailureReason", "") if status == "failed" else _LIMITS.get(job.get("SecondaryStatus", ""), "")
    return RunState.new(
        id=run,
        status=status,
        started=_text(jobs[0].get("CreationTime")),
        ended=_text(job.get("TrainingEndTime")) if status in _STATUSES.values() else "",
        failure=failure.strip()[:1024],
        usd=cost(jobs, prices),
        spot_saving=spot_saving(job),
    )


def has_ended(job: Job) -> bool:
    """Returns whether a job's status is final: Completed, Failed or Stopped."""
    return job["TrainingJobStatus"] in ENDED


def story(job: Job, known: int) -> Iterator[str]:
    """Yields a job's transitions in words, from number `known` on."""
    for transition in job.get("SecondaryStatusTransitions", [])[known:]:
        words = _STORY.get(transition["Status"], transition["Status"])
        said = transition.get("StatusMessage", "").strip()
        yield f"{_clock(transition['StartTime'])} {words}" + (f" ({said})" if transition["Status"] == "Failed" else "")


def cost(jobs: Sequence[Job], prices: Prices) -> float | None:
    """Returns the dollars that a run's jobs have cost so far; None if an instance's price is unknown.

    While a spot job runs, it counts at the full price: SageMaker reports the saving at the end.
    """
    amounts = [_cost(job, prices) for job in jobs]
    return None if None in amounts else round(sum(a for a in amounts if a), 6)


def spot_saving(job: Job) -> float | None:
    """Returns the share of the full price that an ended spot job saved, as SageMaker reports it.

    https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html
    """
    trained, billed = job.get("TrainingTimeInSeconds"), job.get("BillableTimeInSeconds")
    if not job.get("EnableManagedSpotTraining") or not trained or billed is None:
        return None
    return round(1 - billed / trained, 4)


def bill(jobs: Sequence[Job], prices: Prices) -> str:
    """Returns a run's cost in words; empty if no job of it ran."""
    job, usd = jobs[-1], cost(jobs, prices)
    seconds = sum(_seconds(j) for j in jobs)
    if not seconds:
        return ""
    resources = job["ResourceConfig"]
    text = f"{resources['InstanceCount']} x {resources['InstanceType']}, billed for {seconds:.0f} s"
    if saving := spot_saving(job):
        text += f" (spot saved {saving:.0%})"
    return f"{text}: " + (f"${usd:.4f}" if usd is not None else "no price is known (`llmops plan prices refresh`)")


def _cost(job: Job, prices: Prices) -> float | None:
    resources = job.get("ResourceConfig", {})
    seconds = _seconds(job)
    if not seconds:
        return 0.0
    price = prices.instance("training", resources.get("InstanceType", ""))
    return price.amount * resources.get("InstanceCount", 1) * seconds / 3600 if price else None


def _seconds(job: Job) -> float:
    """Returns the billed seconds of each instance so far: of training, and of waiting warm for another job."""
    if (billed := job.get("BillableTimeInSeconds")) is not None:
        return float(billed + job.get("WarmPoolStatus", {}).get("ResourceRetainedBillableTimeInSeconds", 0))
    if not (began := job.get("TrainingStartTime")):
        return 0.0
    return max(0.0, ((job.get("TrainingEndTime") or datetime.now(UTC)) - began).total_seconds())


def _text(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else ""


def _clock(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%H:%M:%S")
