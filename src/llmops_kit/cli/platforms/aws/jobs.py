"""Runs on SageMaker: one training job per attempt."""

import re
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.machines.prices import Prices, load_prices
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.job_states import has_ended, run_state
from llmops_kit.cli.platforms.aws.logs import follow_jobs
from llmops_kit.cli.platforms.aws.objects_s3 import S3Objects
from llmops_kit.cli.platforms.cloud_runs import POLL_SECONDS, CloudRuns, Job
from llmops_kit.clouds.aws.errors import error_code, explained, find
from llmops_kit.clouds.aws.job_requests import (
    SPEC_CHANNEL,
    TRAINED_CHANNEL,
    JobPlace,
    job_ending,
    job_name,
    training_job,
)
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.documents.run import SPEC_VARIABLE, RunSpec, RunState, StoredSpec
from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import schedule_key

_EXECUTION = r"(?!.*\d{8}-\d{6}-[0-9a-f]{4}(-\d{1,2})?$)[A-Za-z0-9]+(-[A-Za-z0-9]{3,})*"
"""Matches the scheduler's ids of executions (the documentation has only the example `d32c5kddcf5bb8c3`), but neither
the end of the name of a run's job nor the number of an attempt.
https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
"""
_SCHEDULES = schedule_key("", "").rstrip("/") + "/"
_POOL_SECONDS = 60
_ROLE_SECONDS = 120  # a new role may not work for this long


class AwsRuns(CloudRuns):
    """A stack's runs as SageMaker's training jobs, with their files in the bucket of runs."""

    def __init__(self, outputs: StackOutputs, clients: AwsClients) -> None:
        assert outputs.aws
        objects = S3Objects(outputs.aws.work_bucket, clients, outputs.aws.account)
        super().__init__(outputs.stack, objects, outputs.aws.jobs)
        self._outputs, self._aws, self._clients = outputs, outputs.aws, clients
        self._scheduled = re.compile(rf"{re.escape(outputs.aws.job_prefix)}-{_EXECUTION}")

    def _follow(self, run: str, known: int) -> Iterator[str]:
        """Yields the lines from CloudWatch Logs, and the jobs' transitions."""
        return follow_jobs(self._clients, lambda: self._jobs(run), self._prices, known)

    def halt(self, say: Say) -> None:
        """Stops all jobs, and releases their warm pools.

        https://docs.aws.amazon.com/sagemaker/latest/dg/train-warm-pools.html
        """
        running = sorted(self._list(StatusEquals="InProgress"))
        self._stop_all(running, say)
        self._await_pools(running)
        for name in sorted(self._list(WarmPoolStatusEquals="Available")):
            say(f"releasing the instances of job {name}")
            try:  # the documentation covers only jobs that have ended
                with explained(f"job {name}"):
                    self._sagemaker.update_training_job(
                        TrainingJobName=name, ResourceConfig={"KeepAlivePeriodInSeconds": 0}
                    )
            except KitError as e:  # a pool that expires anyway must not keep the others from being released
                say(f"warning: its instances stay until their time is over: {e}")

    def _await_pools(self, names: Sequence[str]) -> None:
        """Waits until stopped jobs no longer use their warm pools, for a minute at most."""
        deadline = time.monotonic() + _POOL_SECONDS
        while any(self._describe(name).get("WarmPoolStatus", {}).get("Status") == "InUse" for name in names):
            if time.monotonic() > deadline:
                return
            time.sleep(POLL_SECONDS)

    def remove(self) -> None:
        """Stops running jobs, and deletes all jobs."""
        self.halt(lambda _: None)
        while self._list(WarmPoolStatusEquals="Available"):
            time.sleep(POLL_SECONDS)  # SageMaker doesn't delete a job that has one
        for name in sorted(self._job_names()):
            self._wait(name)  # one may be stopping
            with explained(f"job {name}"):
                self._sagemaker.delete_training_job(TrainingJobName=name)

    @cached_property
    def _sagemaker(self) -> Any:
        return self._clients("sagemaker")

    @cached_property
    def _prices(self) -> Prices:
        return load_prices(self._aws.region)

    @cached_property
    def _place(self) -> JobPlace:
        aws = self._aws
        return JobPlace(
            role=aws.roles["training"],
            key=aws.kms_key,
            store=self._outputs.store.url.removeprefix("s3://"),
            work=aws.work_bucket,
            subnets=aws.network.get("subnets", []),
            security_groups=aws.network.get("security_groups", []),
            tags=aws.tags,
        )

    def _request(self, spec: RunSpec, attempt: int, stored: StoredSpec) -> dict[str, Any]:
        return training_job(self._job_name(spec.id, attempt), spec.id, spec, stored, self._place)

    def _create(self, request: dict[str, Any], say: Say) -> None:
        deadline = time.monotonic() + _ROLE_SECONDS
        with explained(f"job {request['TrainingJobName']}"):
            while True:
                try:
                    self._sagemaker.create_training_job(**request)
                    return
                except ClientError as e:
                    if error_code(e) == "ResourceInUse":
                        return  # it was created before, but SageMaker did not list it yet
                    if "assume role" not in str(e) or time.monotonic() > deadline:
                        raise
                say("the role of the stack's jobs does not work yet: trying again")
                time.sleep(2 * POLL_SECONDS)

    def _job_names(self, run: str = "") -> set[str]:
        return self._list(job_ending(run) if run else self._aws.job_prefix)

    def _list(self, part: str = "", **filters: str) -> set[str]:
        prefix = self._aws.job_prefix
        with explained("SageMaker's training jobs"):
            pages = self._sagemaker.get_paginator("list_training_jobs").paginate(NameContains=part or prefix, **filters)
            names = {job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]}
        return {name for name in names if name.startswith(f"{prefix}-")}

    def _job_name(self, run: str, attempt: int) -> str:
        return job_name(self._aws.job_prefix, run, attempt)

    def _is_scheduled(self, name: str) -> bool:
        return bool(self._scheduled.fullmatch(name))

    def _describe(self, name: str) -> Job:
        with explained(f"job {name}"):
            return find(self._sagemaker.describe_training_job, TrainingJobName=name) or {}

    def _name_of(self, job: Job) -> str:
        return job["TrainingJobName"]

    def _created(self, job: Job) -> str:
        return job["CreationTime"].strftime("%Y-%m-%dT%H:%M:%SZ")

    def _repeats(self, job: Job) -> bool:
        return self._spec_folder(job).startswith(_SCHEDULES)

    def _spec_folder(self, job: Job) -> str:
        found = (c for c in job.get("InputDataConfig", []) if c["ChannelName"] == SPEC_CHANNEL)
        source = next(found, {}).get("DataSource", {})
        return urlsplit(source.get("S3DataSource", {}).get("S3Uri", "")).path.strip("/")

    def _spec_sha256(self, job: Job) -> str:
        """Returns the sha256 of a job's spec from its environment, which no call changes:
        https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateTrainingJob.html
        """
        return job.get("Environment", {}).get(SPEC_VARIABLE, "")

    def _model_folder(self, run: str, job: Job) -> str:
        return urlsplit(job.get("ModelArtifacts", {}).get("S3ModelArtifacts", "")).path.strip("/")

    def _evaluates(self, job: Job) -> bool:
        return any(channel["ChannelName"] == TRAINED_CHANNEL for channel in job.get("InputDataConfig", []))

    def _is_complete(self, job: Job) -> bool:
        return job["TrainingJobStatus"] == "Completed"

    def _has_ended(self, job: Job) -> bool:
        return has_ended(job)

    def _state(self, run: str, jobs: Sequence[Job]) -> RunState:
        return run_state(run, jobs, self._prices)

    def _stop(self, name: str) -> None:
        with explained(f"job {name}"):
            self._sagemaker.stop_training_job(TrainingJobName=name)
