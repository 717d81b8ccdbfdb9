"""The states of a training job in its document.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html
"""

import math

from llmops_twins.aws.sagemaker_documents import SERVICE
from llmops_twins.aws.service_documents import Document, now, shelf
from llmops_twins.aws.twin import AccountTwin

ENDED = ("Completed", "Failed", "Stopped")
SPOT_SHARE = 0.3
"""Billed share of a second on a spot instance. On AWS it follows the market: mostly 0.3 to 0.5."""
LONGEST_REASON = 1024
_MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Restarting": "Restarting the training job after an internal error",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Interrupted": "Training job interrupted: the managed spot instances were taken back",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
    "Failed": "Training job failed",
}


def enter(twin: AccountTwin, job: Document, status: str, message: str = "") -> None:
    """Enters the next secondary status."""
    transitions = job["SecondaryStatusTransitions"]
    if transitions:
        transitions[-1]["EndTime"] = now()
    transitions.append({"Status": status, "StartTime": now(), "StatusMessage": message or _MESSAGES[status]})
    job["SecondaryStatus"] = status
    job["LastModifiedTime"] = now()
    twin.changed()


def end(twin: AccountTwin, job: Document, status: str, reason: str = "", secondary: str = "") -> None:
    """Records the end of a job, with the reason of a failure."""
    job["TrainingJobStatus"] = status
    job["TrainingEndTime"] = now()
    if reason:
        job["FailureReason"] = reason[:LONGEST_REASON]
    enter(twin, job, secondary or status, reason)
    job["SecondaryStatusTransitions"][-1]["EndTime"] = now()


def count_time(job: Document, seconds: float) -> None:
    """Adds billable time on the job's instances."""
    total = job.get("TrainingTimeInSeconds", 0) + round(seconds)
    job["TrainingTimeInSeconds"] = total
    share = SPOT_SHARE if job.get("EnableManagedSpotTraining") else 1.0
    job["BillableTimeInSeconds"] = math.ceil(total * share)


def runs(twin: AccountTwin, region: str) -> dict[str, Document]:
    """Returns the twin's notes on running jobs, by ARN: `retries`, the restarts after internal errors, and `trained`,
    the seconds of earlier attempts.
    """
    return shelf(twin, SERVICE, "training-runs", region)
