"""Runs the containers of training jobs, each job on its own thread."""

from llmops_twins.aws import sagemaker_documents as store
from llmops_twins.aws.sagemaker.jobs import states
from llmops_twins.aws.sagemaker.jobs.job_run import TrainingJobRun
from llmops_twins.aws.sagemaker.jobs.pools import Pools
from llmops_twins.aws.sagemaker_documents import JOB, SERVICE
from llmops_twins.aws.service_documents import Document, regions
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core.jobs.job_run import clean

_TICK_SECONDS = 0.2
_LOST = "InternalServerError: the twin of AWS was stopped while the job ran. Create the job again."
UNJUDGED = [
    "network isolation and encryption between containers of a job whose image runs as a process",
    "the VPC of such a job, except whether its security groups let its instances reach each other",
    f"the price of spot: a second of it is billed as {states.SPOT_SHARE:g} of one",
]


class TrainingJobRuns:
    """Starts jobs, and matches threads with documents after each restart and reset."""

    def __init__(self, twin: AccountTwin, pools: Pools) -> None:
        self._twin = twin
        self._pools = pools
        self._running: dict[str, TrainingJobRun] = {}
        twin.unjudged += UNJUDGED
        self._cleaned = False
        twin.every(_TICK_SECONDS, self._tidy)
        twin.closers.append(self._close)

    def begin(self, region: str, job: Document) -> None:
        """Starts a new job's containers."""
        self._clean()
        warm = self._pools.reuse(region, job)
        states.runs(self._twin, region)[job["TrainingJobArn"]] = {"retries": 0, "trained": 0.0}
        self._running[job["TrainingJobArn"]] = TrainingJobRun(self._twin, self._pools, region, job, warm=warm)

    def stop(self, job: Document) -> bool:
        """Stops the containers of a job in status Stopping. Returns False if they don't run here."""
        run = self._running.get(job["TrainingJobArn"])
        if run:
            run.stop()
        return run is not None

    def _tidy(self) -> None:
        self._clean()
        known = {(region, arn) for region in regions(self._twin, SERVICE) for arn in states.runs(self._twin, region)}
        for arn in self._running.keys() - {arn for _, arn in known}:
            self._running.pop(arn).close()
        for region, arn in sorted(known):
            if arn not in self._running:
                self._lost(region, arn)

    def _lost(self, region: str, arn: str) -> None:
        """Handles a job whose thread ended with an earlier process: restarts it if its RetryStrategy allows, else marks
        it as stopped or failed.
        """
        job = store.documents(self._twin, JOB, region).get(arn)
        run = states.runs(self._twin, region)[arn]
        retries = (job or {}).get("RetryStrategy", {}).get("MaximumRetryAttempts", 0)
        if job and job["TrainingJobStatus"] == "InProgress" and run["retries"] < retries:
            run["retries"] += 1
            self._running[arn] = TrainingJobRun(self._twin, self._pools, region, job, warm=False, retry=True)
            return
        del states.runs(self._twin, region)[arn]
        if job and job["TrainingJobStatus"] == "Stopping":
            states.end(self._twin, job, "Stopped")
        elif job:
            states.end(self._twin, job, "Failed", _LOST)
            self._pools.lose(job)

    def _close(self) -> None:
        for run in self._running.values():
            run.close()
        for run in self._running.values():
            run.join()

    def _clean(self) -> None:
        """Ends and removes, once per process, containers and folders that jobs of a killed twin left behind."""
        if not self._cleaned:
            clean(self._twin.home)
        self._cleaned = True
