"""Runs on SageMaker: a folder in the bucket of runs, and a training job for each attempt at it.

runs/<run>/input/spec/run.json   what was asked for       runs/<run>/checkpoints/   what outlives an attempt
runs/<run>/output/<job>/…        what an attempt made     schedules/<name>/<run>/   the spec that a schedule repeats
"""

import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from contract.aws_job import SPEC_CHANNEL, JobPlace, job_ending, job_name, training_job
from contract.errors import RunError
from contract.layout import SPEC, cache_dir, run_key, run_spec_key
from contract.outputs import StackOutputs
from contract.run import Compute, RunSpec
from llmops.platforms.aws.clients import Clients, error_code, explained, is_missing
from llmops.platforms.aws.job_log import follow_jobs
from llmops.platforms.aws.job_states import Job, has_ended, run_state
from llmops.platforms.aws.objects_s3 import S3Objects
from llmops.platforms.base import Run, Say
from llmops.prices import Prices, load_prices

_MOST_ATTEMPTS = 99
_READERS = 8
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_ROLE_SECONDS = 120  # a role that was just made may not work for so long
_STOP_SECONDS = 600  # 120 to write a checkpoint, then its upload
_POLL_SECONDS = 1.0


class AwsRuns:
    """The runs of a stack."""

    def __init__(self, outputs: StackOutputs, clients: Clients) -> None:
        assert outputs.aws
        self._outputs, self._aws, self._clients = outputs, outputs.aws, clients
        self._objects = S3Objects(outputs.aws.work_bucket, clients, outputs.aws.account)
        self._scheduled = re.compile(rf"{re.escape(outputs.aws.job_prefix)}-{_UUID}")

    def submit(self, spec: RunSpec, say: Say) -> None:
        """Lay out the run's folder, and create its job."""
        self._start(spec, 1, say)

    def find(self, run: str) -> list[Run]:
        """Runs whose id begins with `run`, newest first; a job that a schedule started is a run of its own."""
        names = self._job_names(self._aws.job_prefix)
        scheduled = {name for name in names if self._scheduled.fullmatch(name) and name.startswith(run)}
        with ThreadPoolExecutor(_READERS) as pool:
            found = pool.map(lambda each: self._load(each, names), sorted(self._laid_out(run) | scheduled))
            runs = [each for each in found if each]
        return sorted(runs, key=lambda r: (r.spec.created, r.spec.id), reverse=True)

    def follow(self, run: str) -> Iterator[str]:
        """Lines of its jobs, and what becomes of them."""
        return follow_jobs(self._clients, lambda: self._jobs(run), self._prices)

    def stop(self, run: str) -> None:
        """Stop its job, and wait until what it wrote is stored."""
        jobs = self._jobs(run)
        if not jobs or has_ended(jobs[-1]):
            raise RunError(f"run {run} is not running", where=f"stack {self._outputs.stack}")
        self._stop(jobs[-1]["TrainingJobName"])
        self._wait(jobs[-1]["TrainingJobName"])

    def resume(self, run: str, compute: Compute | None, say: Say) -> None:
        """Create another job of an ended run, with its checkpoints."""
        names = self._job_names(job_ending(run))
        found = self._load(run, names)
        if found is None:
            raise RunError(f"there is no run {run}", fix="`llmops runs list` shows the runs")
        if found.state.status in ("running", "completed"):
            what, verb = ("running", "follow") if found.state.status == "running" else ("complete", "collect")
            raise RunError(f"run {run} is {what}", fix=f"`llmops runs {verb} {run}`")
        spec = found.spec.model_copy(update={"compute": compute or found.spec.compute or self._aws.jobs})
        # An attempt that is listed and can't be described yet is the one that is wanted: it is not started twice.
        shown = [number for number, name in self._attempts(run, names) if self._describe(name)]
        self._start(spec, max(shown, default=0) + 1, say)

    def request(self, run: str) -> dict[str, Any]:
        """What CreateTrainingJob was asked for the first job of a run."""
        found = self._load(run, self._job_names(job_ending(run)))
        if found is None:
            raise RunError(f"there is no run {run}", fix="`llmops runs list` shows the runs")
        folder = run_spec_key(run).removesuffix(f"/{SPEC}")
        if self._scheduled.fullmatch(run) and (jobs := self._jobs(run)):
            folder = _spec_folder(jobs[0])
        return self._request(found.spec, 1, folder)

    @contextmanager
    def output(self, run: str) -> Iterator[Path]:
        """What its last job put into opt/ml/model, in a folder of this machine that goes afterwards."""
        uri = urlsplit(self._jobs(run)[-1].get("ModelArtifacts", {}).get("S3ModelArtifacts", ""))
        base = cache_dir() / "work"
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="output-", dir=base) as temporary:
            self._objects.download(f"{uri.path.strip('/')}/", Path(temporary))
            yield Path(temporary)

    def halt(self, say: Say) -> None:
        """Stop all jobs, and let their warm pools go.

        https://docs.aws.amazon.com/sagemaker/latest/dg/train-warm-pools.html
        """
        prefix = self._aws.job_prefix
        running = self._job_names(prefix, StatusEquals="InProgress")
        for name in sorted(running | self._job_names(prefix, WarmPoolStatusEquals="Available")):
            if self._describe(name)["ResourceConfig"].get("KeepAlivePeriodInSeconds"):
                say(f"keeping no instances of job {name}")
                with explained(f"job {name}"):
                    self._sagemaker.update_training_job(
                        TrainingJobName=name, ResourceConfig={"KeepAlivePeriodInSeconds": 0}
                    )
        for name in sorted(running):
            say(f"stopping job {name}")
            self._stop(name)
        for name in running:
            self._wait(name)

    def remove(self) -> None:
        """Stop what runs, and let SageMaker forget every job; the files are the bucket's matter."""
        self.halt(lambda _: None)
        while self._job_names(self._aws.job_prefix, WarmPoolStatusEquals="Available"):
            time.sleep(_POLL_SECONDS)  # SageMaker forgets no job with one
        for name in sorted(self._job_names(self._aws.job_prefix)):
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

    def _request(self, spec: RunSpec, attempt: int, folder: str) -> dict[str, Any]:
        name = job_name(self._aws.job_prefix, spec.id, attempt)
        return training_job(name, spec.id, spec, folder, self._place)

    def _start(self, spec: RunSpec, attempt: int, say: Say) -> None:
        key = run_spec_key(spec.id)
        self._objects.put(key, spec.to_json().encode())
        request = self._request(spec, attempt, key.removesuffix(f"/{SPEC}"))
        name = request["TrainingJobName"]
        deadline = time.monotonic() + _ROLE_SECONDS
        with explained(f"job {name}"):
            while True:
                try:
                    self._sagemaker.create_training_job(**request)
                    return
                except ClientError as e:
                    if error_code(e) == "ResourceInUse":
                        return  # it was created before: SageMaker did not show it yet
                    if "assume role" not in str(e) or time.monotonic() > deadline:
                        raise
                say("the role of the stack's jobs does not work yet: trying again")
                time.sleep(2 * _POLL_SECONDS)

    def _load(self, run: str, names: set[str]) -> Run | None:
        """A run; None when its spec is gone: files of runs expire."""
        jobs = [job for _, name in self._attempts(run, names) if (job := self._describe(name))]
        spec = self._spec(run, jobs)
        return Run(spec, run_state(run, jobs, self._prices)) if spec else None

    def _spec(self, run: str, jobs: list[Job]) -> RunSpec | None:
        keys = [run_spec_key(run)]
        if self._scheduled.fullmatch(run) and jobs:
            keys.append(f"{_spec_folder(jobs[0])}/{SPEC}")
        for key in keys:
            if content := self._objects.find(key):
                spec = RunSpec.parse(content.decode(), where=f"{self._objects.url}/{key}")
                if spec.id == run:
                    return spec
                created = jobs[0]["CreationTime"].strftime("%Y-%m-%dT%H:%M:%SZ")
                return spec.model_copy(update={"id": run, "created": created})
        return None

    def _laid_out(self, run: str) -> set[str]:
        """Ids of the runs that have a folder."""
        return {key.removeprefix(run_key("")) for key in self._objects.folders(run_key(run))}

    def _job_names(self, part: str, **filters: str) -> set[str]:
        with explained("SageMaker's training jobs"):
            pages = self._sagemaker.get_paginator("list_training_jobs").paginate(NameContains=part, **filters)
            names = {job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]}
        return {name for name in names if name.startswith(f"{self._aws.job_prefix}-")}

    def _attempts(self, run: str, names: set[str]) -> list[tuple[int, str]]:
        possible = ((n, job_name(self._aws.job_prefix, run, n)) for n in range(1, _MOST_ATTEMPTS + 1))
        return [(number, name) for number, name in possible if name in names]

    def _jobs(self, run: str) -> list[Job]:
        """The jobs of a run, oldest first."""
        attempts = self._attempts(run, self._job_names(job_ending(run)))
        return [job for _, name in attempts if (job := self._describe(name))]

    def _describe(self, name: str) -> Job:
        """A job; empty while SageMaker does not show it yet."""
        with explained(f"job {name}"):
            try:
                return self._sagemaker.describe_training_job(TrainingJobName=name)
            except ClientError as e:
                if is_missing(e):
                    return {}
                raise

    def _stop(self, name: str) -> None:
        with explained(f"job {name}"):
            self._sagemaker.stop_training_job(TrainingJobName=name)

    def _wait(self, name: str) -> None:
        deadline = time.monotonic() + _STOP_SECONDS
        while not has_ended(self._describe(name)):
            if time.monotonic() > deadline:
                raise RunError(
                    f"it is stopping for {_STOP_SECONDS // 60} minutes", where=f"job {name}", fix="look again later"
                )
            time.sleep(_POLL_SECONDS)


def _spec_folder(job: Job) -> str:
    """Key of the folder in the bucket of runs that a job got its spec from."""
    channels = {c["ChannelName"]: c["DataSource"]["S3DataSource"]["S3Uri"] for c in job["InputDataConfig"]}
    return urlsplit(channels[SPEC_CHANNEL]).path.strip("/")
