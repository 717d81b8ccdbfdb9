"""Runs on a cloud: a folder in the work bucket or container, and one job per attempt.

runs/<run>/input/spec/run.json   the run's specification  runs/<run>/checkpoints/   files that outlive an attempt
runs/<run>/output/<job>/…        an attempt's output      schedules/<name>/<run>/   the spec that a schedule repeats

A run with its own trainer has two kinds of jobs: attempts at training, and once one of them is complete, attempts
at evaluating its output. Following, collecting or resuming the run starts the next one. Concurrent callers request the
same job name, and a cloud creates a job of that name once.

Jobs may write to that bucket (on Azure to all of the container), so a run.json in it proves nothing by itself. Each
job's request contains the sha256 of its run.json, and can't be changed: a run.json that no job's request names is in
doubt.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from llmops_kit.cli.interfaces.platform import Run, Say, doubtful
from llmops_kit.cli.store.remote_objects import RemoteObjects
from llmops_kit.cli.store.versions import RemoteVersion
from llmops_kit.core.documents.run import Compute, RunSpec, RunState, StoredSpec, TrainerJob
from llmops_kit.core.errors import DocumentError, KitError, NotFoundError, RunError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import SPEC, run_key, run_spec_key

Job = dict[str, Any]
"""A job as its cloud's API describes it."""
_MOST_ATTEMPTS = 99
_READERS = 8
_STOP_SECONDS = 600  # 120 to write a checkpoint, then its upload
POLL_SECONDS = 1.0
_CHANGED = "{key} differs from the one that its job was submitted with: something with write access changed it"
_NOT_NAMED = "its job was submitted by an older kit, which did not record the spec in the job's request"


class CloudRuns(ABC):
    """The runs of a stack. Subclasses implement a cloud's jobs."""

    def __init__(self, stack: str, objects: RemoteObjects, usual: Compute) -> None:
        """Manages the runs of a stack.

        Args:
            stack: its name.
            objects: the bucket or container of runs.
            usual: the machines of a run that names none.
        """
        self._stack, self._objects, self._usual = stack, objects, usual

    def submit(self, spec: RunSpec, say: Say) -> None:
        """Writes the run's folder, and creates its job: the first one if it has two."""
        self._lay_out(spec, 1, "", say)

    def find(self, run: str) -> list[Run]:
        """Returns the runs whose id begins with `run`, newest first; a job that a schedule started is a separate
        run.
        """
        names = self._job_names()
        scheduled = {name for name in names if self._is_scheduled(name) and name.startswith(run)}
        laid_out = {key.removeprefix(run_key("")) for key in self._objects.folders(run_key(run))}
        with ThreadPoolExecutor(_READERS) as pool:
            found = pool.map(lambda each: self._load(each, names), sorted(laid_out | scheduled))
            runs = [each for each in found if each]
        return sorted(runs, key=lambda r: (r.spec.created, r.spec.id), reverse=True)

    def follow(self, run: str) -> Iterator[str]:
        """Yields the lines of a run's jobs, and changes of their states; starts the second job of a run with two."""
        told = 0
        while True:
            yield from self._follow(run, told)
            jobs = self._jobs(run)
            if self._is_between(run):
                self._start_second_job(run)
                told = len(jobs)
            elif all(self._has_ended(job) for job in jobs):
                return
            else:  # another caller has started the second one
                told = sum(self._has_ended(job) for job in jobs)

    @abstractmethod
    def _follow(self, run: str, known: int) -> Iterator[str]:
        """Yields the lines of a run's jobs but the first `known` ones, and changes of states, until all have ended."""

    def stop(self, run: str) -> None:
        """Stops the run's job, and waits until its output is stored."""
        jobs = self._jobs(run)
        if not jobs or self._has_ended(jobs[-1]):
            raise RunError(f"run {run} is not running", where=f"stack {self._stack}")
        self._stop(self._name_of(jobs[-1]))
        self._wait(self._name_of(jobs[-1]))

    def resume(self, run: str, compute: Compute | None, say: Say, asked: RunSpec | None = None) -> None:
        """Creates another job of an ended run, which continues from its checkpoints.

        Raises:
            NotFoundError: there is no such run.
            RunError: it is running or complete, or its spec is in doubt and differs from `asked`.
        """
        names = self._job_names(run)
        found = self._load(run, names)
        if found is None:
            raise no_run(run)
        if found.state.status in ("running", "completed"):
            what, verb = ("running", "follow") if found.state.status == "running" else ("complete", "collect")
            raise RunError(f"run {run} is {what}", fix=f"`llmops runs {verb} {run}`")
        if found.doubt and (asked is None or asked.inputs != found.spec.inputs):
            raise doubtful(found)
        own = (
            asked.model_copy(update={"id": run, "created": found.spec.created}) if found.doubt and asked else found.spec
        )
        spec = own.model_copy(update={"compute": compute or own.compute or self._usual})
        # An attempt that is listed but can't be described yet doesn't count: creating it again changes nothing.
        shown = {number: job for number, name in self._attempts(run, names) if (job := self._describe(name))}
        self._lay_out(spec, max(shown, default=0) + 1, self._trained(spec, list(shown.values())), say)

    def request(self, run: str) -> dict[str, Any]:
        """Returns the request that was sent for a run's first job."""
        names = self._job_names(run)
        found = self._load(run, names)
        if found is None:
            raise no_run(run)
        if found.doubt:
            raise doubtful(found)
        if found.spec.trainer:
            raise RunError(
                "it has two jobs, so it has no single request",
                where=f"run {run}",
                fix="`llmops train RECIPE --again` starts the first one, `llmops runs collect` the second one",
            )
        first = next(job for _, name in self._attempts(run, names) if (job := self._describe(name)))
        stored = StoredSpec(self._spec_folder(first), self._spec_sha256(first))
        return self._request(found.spec, 1, stored)

    def output(self, run: str) -> RemoteVersion:
        """Returns the version in the output folder of the run's last job."""
        return RemoteVersion(self._objects, self._model_folder(run, self._jobs(run)[-1]))

    @abstractmethod
    def halt(self, say: Say) -> None:
        """Stops all jobs, and releases machines that are kept for the next one."""

    @abstractmethod
    def remove(self) -> None:
        """Stops running jobs, and deletes all jobs; their files are removed with the bucket or container."""

    def _prepare(self, trainer: TrainerJob) -> None:
        """Creates the resource that names a trainer's image, on clouds whose job requests can't name it themselves."""
        del trainer

    @abstractmethod
    def _create(self, request: dict[str, Any], say: Say) -> None:
        """Creates a job, unless it was created before."""

    @abstractmethod
    def _request(self, spec: RunSpec, attempt: int, stored: StoredSpec) -> dict[str, Any]:
        """Returns the request that creates a job; `stored` is where the job finds its spec."""

    @abstractmethod
    def _job_names(self, run: str = "") -> set[str]:
        """Returns names of the stack's jobs, including all of a run's."""

    @abstractmethod
    def _job_name(self, run: str, attempt: int) -> str: ...

    @abstractmethod
    def _is_scheduled(self, name: str) -> bool:
        """Returns whether a schedule started the job or run of that name."""

    def _repeats(self, job: Job) -> bool:
        """Returns whether a job with the name of a scheduled one took its spec from a schedule's folder."""
        del job  # for clouds on which only a schedule gives such names
        return True

    @abstractmethod
    def _describe(self, name: str) -> Job:
        """Returns a job; {} while the cloud does not show it yet."""

    @abstractmethod
    def _name_of(self, job: Job) -> str: ...

    @abstractmethod
    def _created(self, job: Job) -> str:
        """Returns when a job was created: UTC, ISO 8601, seconds."""

    @abstractmethod
    def _spec_folder(self, job: Job) -> str:
        """Returns the key of the folder that a job got its spec from; empty if the kit didn't make it."""

    @abstractmethod
    def _spec_sha256(self, job: Job) -> str:
        """Returns the sha256 of the spec in a job's request; empty if an older kit submitted it."""

    @abstractmethod
    def _model_folder(self, run: str, job: Job) -> str:
        """Returns the key of the folder that holds a job's model."""

    @abstractmethod
    def _evaluates(self, job: Job) -> bool:
        """Returns whether a job evaluates the output of another one."""

    @abstractmethod
    def _is_complete(self, job: Job) -> bool: ...

    @abstractmethod
    def _has_ended(self, job: Job) -> bool: ...

    @abstractmethod
    def _state(self, run: str, jobs: Sequence[Job]) -> RunState:
        """Returns a run's state from its jobs, oldest first."""

    @abstractmethod
    def _stop(self, name: str) -> None:
        """Requests that a job stops; returns at once."""

    def _trained(self, spec: RunSpec, jobs: Sequence[Job]) -> str:
        """Returns the key of the folder that a run's next job evaluates; empty if it trains."""
        if spec.trainer is None:
            return ""
        trained = [job for job in jobs if self._is_complete(job) and not self._evaluates(job)]
        return self._model_folder(spec.id, trained[-1]) if trained else ""

    def _is_between(self, run: str) -> bool:
        found = self._load(run, self._job_names(run))
        return found is not None and (found.state.status, found.state.job) == ("pending", "evaluation")

    def _start_second_job(self, run: str) -> None:
        try:
            self.resume(run, None, lambda _: None)
        except RunError:
            if self._is_between(run):
                raise  # else another caller was faster

    def _with_job(self, state: RunState, spec: RunSpec, jobs: Sequence[Job]) -> RunState:
        """Returns the state of a run with two jobs: it is complete when its second one is."""
        if spec.trainer is None:
            return state
        evaluates = bool(jobs) and self._evaluates(jobs[-1])
        if state.status == "completed" and not evaluates:
            return state.model_copy(update={"status": "pending", "job": "evaluation", "ended": ""})
        return state.model_copy(update={"job": "evaluation" if evaluates else "trainer"})

    def _lay_out(self, spec: RunSpec, attempt: int, trained: str, say: Say) -> None:
        spec = spec.model_copy(update={"compute": spec.compute or self._usual})
        key, content = run_spec_key(spec.id, attempt), spec.to_json().encode()
        stored = StoredSpec(key.removesuffix(f"/{SPEC}"), sha256_bytes(content), trained)
        request = self._request(spec, attempt, stored)  # before anything is written: it rejects impossible requests
        self._objects.put(key, content)
        if spec.trainer and not trained:
            self._prepare(spec.trainer)
        self._create(request, say)

    def _load(self, run: str, names: set[str]) -> Run | None:
        """Returns a run, or None if its spec is gone: files of runs expire."""
        jobs = [job for _, name in self._attempts(run, names) if (job := self._describe(name))]
        found = self._spec(run, jobs)
        return Run(found[0], self._with_job(self._state(run, jobs), found[0], jobs), found[1]) if found else None

    def _spec(self, run: str, jobs: Sequence[Job]) -> tuple[RunSpec, str] | None:
        """Returns the newest spec whose sha256 its job's request names; else any stored one, and why it is in doubt."""
        unproved: dict[str, bytes | None] = {}
        doubt = "its files were written, but no job was started" if not jobs else ""
        for job in reversed(jobs):
            if not (folder := self._spec_folder(job)):
                continue  # not the kit's, though it has a name or tag of the stack
            key, sha256 = f"{folder}/{SPEC}", self._spec_sha256(job)
            content = self._objects.find(key)
            if content and sha256_bytes(content) == sha256:
                spec = self._parsed(run, key, content, jobs)
                return (spec, "") if spec else None
            unproved[key] = content
            doubt = doubt or (_CHANGED.format(key=key) if sha256 else _NOT_NAMED)
        first = run_spec_key(run)
        if first not in unproved:
            unproved[first] = self._objects.find(first)
        for key in (first, *unproved):
            if in_doubt := self._parsed(run, key, unproved[key], jobs):
                return in_doubt, doubt
        return None

    def _parsed(self, run: str, key: str, content: bytes | None, jobs: Sequence[Job]) -> RunSpec | None:
        """Parses a spec of a run; returns None if there is none, or if it is not this run's."""
        try:
            spec = RunSpec.parse(content or b"", where=f"{self._objects.url}/{key}")
        except DocumentError:
            return None
        if spec.id == run:
            return spec
        if not (self._is_scheduled(run) and jobs and self._repeats(jobs[0])):
            return None
        return spec.model_copy(update={"id": run, "created": self._created(jobs[0])})

    def _attempts(self, run: str, names: set[str]) -> list[tuple[int, str]]:
        possible = ((n, self._job_name(run, n)) for n in range(1, _MOST_ATTEMPTS + 1))
        return [(number, name) for number, name in possible if name in names]

    def _jobs(self, run: str) -> list[Job]:
        """Returns the jobs of a run, oldest first."""
        attempts = self._attempts(run, self._job_names(run))
        return [job for _, name in attempts if (job := self._describe(name))]

    def _stop_all(self, names: Sequence[str], say: Say) -> None:
        """Stops running jobs, and waits for all of them. One may have ended by itself meanwhile."""
        for name in names:
            say(f"stopping job {name}")
            try:
                self._stop(name)
            except KitError:
                if not self._has_ended(self._describe(name)):
                    raise
        for name in names:
            self._wait(name)

    def _wait(self, name: str) -> None:
        """Waits until a job has ended."""
        deadline = time.monotonic() + _STOP_SECONDS
        while not self._has_ended(self._describe(name)):
            if time.monotonic() > deadline:
                raise RunError(
                    f"it has not stopped for {_STOP_SECONDS // 60} minutes", where=f"job {name}", fix="try again later"
                )
            time.sleep(POLL_SECONDS)


def no_run(run: str) -> NotFoundError:
    """Error for a missing run."""
    return NotFoundError(f"there is no run {run}", fix="`llmops runs list` shows the runs")
