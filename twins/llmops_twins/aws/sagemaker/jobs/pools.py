"""Warm pools: instances kept after a job for the next similar one.

https://docs.aws.amazon.com/sagemaker/latest/dg/train-warm-pools.html
"""

from typing import Any

from llmops_twins.aws import sagemaker_documents as store
from llmops_twins.aws.sagemaker_documents import JOB, SERVICE
from llmops_twins.aws.service_documents import Document, now, shelf
from llmops_twins.aws.twin import AccountTwin

_PERIOD = "KeepAlivePeriodInSeconds"
_ALIKE = ("RoleArn", "VpcConfig", "EnableInterContainerTrafficEncryption", "EnableNetworkIsolation")
_MACHINES = ("InstanceType", "InstanceCount", "VolumeSizeInGB", "VolumeKmsKeyId")


class Pools:
    """The warm pools of an account. Their periods are not scaled, because the jobs' work takes real time."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin
        twin.action_named("sagemaker.pool", self._expire)

    def reuse(self, region: str, job: Document) -> bool:
        """Takes the pool of a similar job for a new one, if there is one."""
        if _period(job):
            job["WarmPoolStatus"] = {"Status": "InUse"}
        found = next((each for each in self._available(region) if _like(each) == _like(job)), None)
        if found is None:
            return False
        self._close(region, found, Status="Reused", ReusedByJob=job["TrainingJobName"])
        return True

    def keep(self, region: str, job: Document) -> None:
        """Keeps the instances of a completed job if it asked for a warm pool."""
        if _period(job):
            job["WarmPoolStatus"] = {"Status": "Available"}
            self._since(region)[job["TrainingJobArn"]] = {"at": now()}
            self._wait(region, job)

    def lose(self, job: Document) -> None:
        """Ends the warm pool of a job."""
        if _period(job):
            job["WarmPoolStatus"] = {"Status": "Terminated"}

    def update(self, region: str, job: Document) -> None:
        """Applies a new keep-alive period to the warm pool; 0 ends the pool."""
        if job.get("WarmPoolStatus", {}).get("Status") == "Available":
            self._wait(region, job)

    def _wait(self, region: str, job: Document) -> None:
        kept = now() - self._since(region)[job["TrainingJobArn"]]["at"]
        self._twin.later(max(0.0, _period(job) - kept), "sagemaker.pool", region, job["TrainingJobArn"])

    def _expire(self, region: str, arn: str) -> None:
        job = store.documents(self._twin, JOB, region).get(arn)
        since = self._since(region).get(arn)
        if job and since and now() >= since["at"] + _period(job):
            self._close(region, job, Status="Terminated")

    def _close(self, region: str, job: Document, **status: Any) -> None:
        kept = now() - self._since(region).pop(job["TrainingJobArn"])["at"]
        job["WarmPoolStatus"] = {"ResourceRetainedBillableTimeInSeconds": round(kept), **status}
        self._twin.changed()

    def _available(self, region: str) -> list[Document]:
        jobs = store.documents(self._twin, JOB, region)
        return [jobs[arn] for arn in self._since(region) if arn in jobs]

    def _since(self, region: str) -> dict[str, Document]:
        return shelf(self._twin, SERVICE, "warm-pools", region)


def _period(job: Document) -> int:
    return job.get("ResourceConfig", {}).get(_PERIOD, 0)


def _like(job: Document) -> list[Any]:
    return [*(job.get(name) for name in _ALIKE), *(job["ResourceConfig"].get(name) for name in _MACHINES)]
