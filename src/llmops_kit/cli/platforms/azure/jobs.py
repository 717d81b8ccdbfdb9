"""Runs on Azure Machine Learning: one command job per attempt.

https://learn.microsoft.com/rest/api/azureml/jobs
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.machines.prices import Prices, load_prices
from llmops_kit.cli.platforms.azure.job_log import follow_jobs
from llmops_kit.cli.platforms.azure.job_states import DETAILS, FAILURE, created, has_ended, run_state, status_of
from llmops_kit.cli.platforms.azure.objects_blob import BlobObjects
from llmops_kit.cli.platforms.cloud_runs import CloudRuns, Job
from llmops_kit.clouds.azure.arm import ResourceManager
from llmops_kit.clouds.azure.assets import archived
from llmops_kit.clouds.azure.job_requests import (
    JOBS_TAG,
    RUN_TAG,
    SCHEDULED_RUN,
    SPEC_INPUT,
    TRAINED_INPUT,
    AzureJobContext,
    command_job,
    job_name,
    key_of,
)
from llmops_kit.clouds.azure.names import work_url, workspace_id
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.documents.run import SPEC_VARIABLE, RunSpec, RunState, StoredSpec, TrainerJob
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import FAILURE as FAILURE_FILE

_AT_ONCE = 8
_TRAINERS = "-trainers"
"""Suffix of the environment with the images of trainers, after the name of the training image's."""


class AzureRuns(CloudRuns):
    """A stack's runs as command jobs of Azure Machine Learning, with their files in the container of runs."""

    def __init__(self, outputs: StackOutputs, session: AzureSession) -> None:
        assert outputs.azure
        super().__init__(outputs.stack, BlobObjects(work_url(outputs.azure), session), outputs.azure.jobs)
        self._azure, self._arm = outputs.azure, session.arm
        self._workspace = workspace_id(outputs.azure)
        self._history = RunHistory(session.arm, self._workspace)
        self._scheduled: set[str] | None = None

    def _follow(self, run: str, known: int) -> Iterator[str]:
        """Yields the lines of the run's nodes, and changes of its jobs' states."""
        return follow_jobs(lambda: self._jobs(run), self._azure.computes, self._prices, known)

    def halt(self, say: Say) -> None:
        """Cancels all jobs; a cluster releases its nodes after its idle time."""
        self._stop_all([job["name"] for job in self._list() if not has_ended(job)], say)

    def remove(self) -> None:
        """Stops running jobs, deletes all jobs, and archives the environment versions of trainers."""
        self.halt(lambda _: None)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda job: self._arm.delete(self._id(job["name"])), self._list()))
        if own := self._azure.environments.get("training", ""):
            for version in self._arm.list(f"{own.partition('/versions/')[0]}{_TRAINERS}/versions"):
                self._arm.put(version["id"], archived(version))

    @cached_property
    def _prices(self) -> Prices:
        return load_prices(self._azure.location)

    @cached_property
    def _context(self) -> AzureJobContext:
        azure = self._azure
        return AzureJobContext(
            prefix=azure.job_prefix,
            computes=f"{self._workspace}/computes",
            clusters=azure.computes,
            environment=azure.environments["training"],
            client_id=azure.client_ids["training"],
            store=azure.datastores["store"],
            work=azure.datastores["work"],
            # Stacks of older kits have checkpoints among their runs.
            checkpoints=azure.datastores.get("checkpoints", azure.datastores["work"]),
            tags=azure.tags,
        )

    def _request(self, spec: RunSpec, attempt: int, stored: StoredSpec) -> dict[str, Any]:
        name, context = self._job_name(spec.id, attempt), self._context
        if spec.trainer and not stored.trained:
            context = replace(context, environment=self._environment(spec.trainer))
        return {"name": name, "properties": command_job(name, spec.id, spec, stored, context)}

    def _prepare(self, trainer: TrainerJob) -> None:
        """Puts the environment version of the trainer's image, as not archived.

        https://learn.microsoft.com/rest/api/azureml/environment-versions/create-or-update
        """
        what = {"image": trainer.image, "osType": "Linux", "tags": dict(self._azure.tags), "isArchived": False}
        self._arm.put(self._environment(trainer), {"properties": what})

    def _environment(self, trainer: TrainerJob) -> str:
        """Returns the id of the environment version for a trainer's image; a version can't be changed."""
        own = self._azure.environments["training"].partition("/versions/")[0]
        return f"{own}{_TRAINERS}/versions/{sha256_bytes(trainer.image.encode())[:12]}"

    def _create(self, request: dict[str, Any], say: Say) -> None:
        id_ = self._id(request["name"])
        if self._arm.find(id_) is None:  # else it was created before: a name can be used only once
            self._arm.put(id_, {"properties": request["properties"]}, wait=False)

    def _job_names(self, run: str = "") -> set[str]:
        return {job["name"] for job in self._list()}

    def _list(self) -> list[Job]:
        """Returns the stack's jobs, and keeps the names of the scheduled ones.

        Azure can't search by name, so all pages are filtered by the stack's tag.
        """
        pages = self._arm.list(f"{self._workspace}/jobs", jobType="Command", tag=JOBS_TAG)
        found = [job for job in pages if _tags(job).get(JOBS_TAG) == self._azure.job_prefix]
        self._scheduled = {job["name"] for job in found if RUN_TAG not in _tags(job)}
        return found

    def _job_name(self, run: str, attempt: int) -> str:
        if attempt == 1 and self._is_scheduled(run):
            return run
        return job_name(self._azure.job_prefix, run, attempt)

    def _is_scheduled(self, name: str) -> bool:
        if self._scheduled is None:
            self._list()
        return name in (self._scheduled or ())

    def _describe(self, name: str) -> Job:
        """Returns the job with its run history, and with the reason that a failed job's trainer wrote."""
        job = self._arm.find(self._id(name))
        if job is None:
            return {}
        job[DETAILS] = self._history.details(name)
        if status_of(job) == "Failed" and (reports := self._output(job, "reports")):
            left = self._objects.find(f"{reports}/{FAILURE_FILE}") or b""
            job[FAILURE] = left.decode(errors="replace")
        return job

    def _name_of(self, job: Job) -> str:
        return job["name"]

    def _created(self, job: Job) -> str:
        return created(job)

    def _spec_folder(self, job: Job) -> str:
        return key_of(_inputs(job).get(SPEC_INPUT, {}).get("uri", ""))

    def _spec_sha256(self, job: Job) -> str:
        """Returns the sha256 of a job's spec from its environment; of an existing job, only tags can be changed:
        https://learn.microsoft.com/rest/api/azureml/jobs/create-or-update
        """
        return (job["properties"].get("environmentVariables") or {}).get(SPEC_VARIABLE, "")

    def _model_folder(self, run: str, job: Job) -> str:
        return self._output(job, "model")

    def _output(self, job: Job, name: str) -> str:
        """Returns the key of the folder that an output was written to, in which a schedule's job names itself; empty if
        the job has no such output.
        """
        outputs = job["properties"].get("outputs") or {}
        return key_of(outputs.get(name, {}).get("uri", "").replace(SCHEDULED_RUN, job["name"]))

    def _evaluates(self, job: Job) -> bool:
        return TRAINED_INPUT in _inputs(job)

    def _is_complete(self, job: Job) -> bool:
        return status_of(job) == "Completed"

    def _has_ended(self, job: Job) -> bool:
        return has_ended(job)

    def _state(self, run: str, jobs: Sequence[Job]) -> RunState:
        return run_state(run, jobs, self._azure.computes, self._prices)

    def _stop(self, name: str) -> None:
        self._arm.post(self._id(name), "cancel")

    def _id(self, job: str) -> str:
        return f"{self._workspace}/jobs/{job}"


class RunHistory:
    """The run history of a workspace: start and end of a job, its error, and the URLs of its logs.

    It is a separate service from Azure Resource Manager, found as azure-ai-ml does: by the workspace's discovery URL.
    """

    def __init__(self, arm: ResourceManager, workspace: str) -> None:
        self._arm, self._workspace = arm, workspace

    def details(self, job: str) -> dict[str, Any]:
        """Returns a job's startTimeUtc, endTimeUtc, error, and logFiles {name: URL with read access}; {} if there are
        none yet.
        """
        return self._arm.get_url(f"{self._url}/history/v1.0{self._workspace}/runs/{job}/details")

    @cached_property
    def _url(self) -> str:
        properties = self._arm.get(self._workspace)["properties"]
        return str(self._arm.get_url(properties["discoveryUrl"])["api"]).rstrip("/")


def _inputs(job: Job) -> dict[str, Any]:
    """Returns a job's inputs; a job with the stack's tag that the kit did not submit may have none."""
    return job["properties"].get("inputs") or {}


def _tags(job: Job) -> dict[str, str]:
    return job["properties"].get("tags") or {}
