"""Runs on a cloud: a folder in the work bucket or container, and one job per attempt.

runs/<run>/input/spec/run.json   what was asked for       runs/<run>/checkpoints/   what outlives an attempt
runs/<run>/output/<job>/…        what an attempt made     schedules/<name>/<run>/   the spec that a schedule repeats

Jobs may write in that place (on Azure everywhere in it), so a run.json there proves nothing by itself. The request of
each job names its sha256, and the cloud keeps requests as they were made: a run.json that no job names is in doubt.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from contract.documents.run import Compute, RunSpec, RunState, StoredSpec
from contract.errors import DocumentError, KitError, NotFoundError, RunError
from contract.integrity.digest import sha256_bytes
from contract.layout import SPEC, run_key, run_spec_key
from llmops.platforms.platform import Run, Say, doubtful
from llmops.store.remote_objects import RemoteObjects
from llmops.store.versions import RemoteVersion

Job = dict[str, Any]
"""A job in the words of its cloud."""
_MOST_ATTEMPTS = 99
_READERS = 8
_STOP_SECONDS = 600  # 120 to write a checkpoint, then its upload
POLL_SECONDS = 1.0
_CHANGED = "{key} is not the one that its job was submitted with: something that may write there changed it"
_NOT_NAMED = "its job was submitted by an older kit, which did not record the spec in the job's request"


class CloudRuns(ABC):
    """The runs of a stack; a cloud adds what its jobs are."""

    def __init__(self, stack: str, objects: RemoteObjects, usual: Compute) -> None:
        """Look after the runs of a stack.

        Args:
            stack: its name.
            objects: the place of runs.
            usual: the machines of a run that names none.
        """
        self._stack, self._objects, self._usual = stack, objects, usual

    def submit(self, spec: RunSpec, say: Say) -> None:
        """Lay out the run's folder, and create its job."""
        self._lay_out(spec, 1, say)

    def find(self, run: str) -> list[Run]:
        """Runs whose id begins with `run`, newest first; a job that a schedule started is a run of its own."""
        names = self._job_names()
        scheduled = {name for name in names if self._is_scheduled(name) and name.startswith(run)}
        laid_out = {key.removeprefix(run_key("")) for key in self._objects.folders(run_key(run))}
        with ThreadPoolExecutor(_READERS) as pool:
            found = pool.map(lambda each: self._load(each, names), sorted(laid_out | scheduled))
            runs = [each for each in found if each]
        return sorted(runs, key=lambda r: (r.spec.created, r.spec.id), reverse=True)

    @abstractmethod
    def follow(self, run: str) -> Iterator[str]:
        """Yields the lines of a run's jobs, and changes of their states."""

    def stop(self, run: str) -> None:
        """Stop its job, and wait until what it wrote is stored."""
        jobs = self._jobs(run)
        if not jobs or self._has_ended(jobs[-1]):
            raise RunError(f"run {run} is not running", where=f"stack {self._stack}")
        self._stop(self._name_of(jobs[-1]))
        self._wait(self._name_of(jobs[-1]))

    def resume(self, run: str, compute: Compute | None, say: Say, asked: RunSpec | None = None) -> None:
        """Create another job of an ended run, with its checkpoints.

        Raises:
            NotFoundError: there is no such run.
            RunError: it needs no other job, or its spec is in doubt and not what is asked for.
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
        # An attempt that is listed and can't be described yet is the one that is wanted: it is not started twice.
        shown = [number for number, name in self._attempts(run, names) if self._describe(name)]
        self._lay_out(spec, max(shown, default=0) + 1, say)

    def request(self, run: str) -> dict[str, Any]:
        """Returns the request that was sent for a run's first job."""
        names = self._job_names(run)
        found = self._load(run, names)
        if found is None:
            raise no_run(run)
        if found.doubt:
            raise doubtful(found)
        first = next(job for _, name in self._attempts(run, names) if (job := self._describe(name)))
        stored = StoredSpec(self._spec_folder(first), self._spec_sha256(first))
        return self._request(found.spec, 1, stored)

    def output(self, run: str) -> RemoteVersion:
        """Returns the version that the run's last job made, where the job put it."""
        return RemoteVersion(self._objects, self._model_folder(run, self._jobs(run)[-1]))

    @abstractmethod
    def halt(self, say: Say) -> None:
        """Stop all jobs, and keep no machine for the next one."""

    @abstractmethod
    def remove(self) -> None:
        """Stop what runs, and let the cloud forget every job; the files are the place's matter."""

    @abstractmethod
    def _create(self, request: dict[str, Any], say: Say) -> None:
        """Create a job, unless it was created before."""

    @abstractmethod
    def _request(self, spec: RunSpec, attempt: int, stored: StoredSpec) -> dict[str, Any]:
        """Returns the request that creates a job; `stored` is where the job finds its spec."""

    @abstractmethod
    def _job_names(self, run: str = "") -> set[str]:
        """Returns names of the stack's jobs, those of a run among them."""

    @abstractmethod
    def _job_name(self, run: str, attempt: int) -> str: ...

    @abstractmethod
    def _is_scheduled(self, name: str) -> bool:
        """Returns whether a schedule started the job or run of that name."""

    def _repeats(self, job: Job) -> bool:
        """Returns whether a job with a scheduled one's name got its spec where schedules keep theirs."""
        del job  # a cloud whose names can't be mistaken has nothing to look at
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
        """Returns the key of the folder that a job got its spec from."""

    @abstractmethod
    def _spec_sha256(self, job: Job) -> str:
        """Returns the sha256 of the spec in a job's request; empty if an older kit submitted it."""

    @abstractmethod
    def _model_folder(self, run: str, job: Job) -> str:
        """Returns the key of the folder that holds a job's model."""

    @abstractmethod
    def _has_ended(self, job: Job) -> bool: ...

    @abstractmethod
    def _state(self, run: str, jobs: Sequence[Job]) -> RunState:
        """Return a run's state from its jobs, oldest first."""

    @abstractmethod
    def _stop(self, name: str) -> None:
        """Ask a job to stop."""

    def _lay_out(self, spec: RunSpec, attempt: int, say: Say) -> None:
        spec = spec.model_copy(update={"compute": spec.compute or self._usual})
        key, content = run_spec_key(spec.id, attempt), spec.to_json().encode()
        stored = StoredSpec(key.removesuffix(f"/{SPEC}"), sha256_bytes(content))
        request = self._request(spec, attempt, stored)  # first: it refuses what can't be
        self._objects.put(key, content)
        self._create(request, say)

    def _load(self, run: str, names: set[str]) -> Run | None:
        """Returns a run, or None if its spec is gone: files of runs expire."""
        jobs = [job for _, name in self._attempts(run, names) if (job := self._describe(name))]
        found = self._spec(run, jobs)
        return Run(found[0], self._state(run, jobs), found[1]) if found else None

    def _spec(self, run: str, jobs: Sequence[Job]) -> tuple[RunSpec, str] | None:
        """Returns the spec of the newest job that names its sha256; else any stored one, and why it is in doubt."""
        in_doubt = self._parsed(run, run_spec_key(run), self._objects.find(run_spec_key(run)), jobs)
        doubt = "it was laid out, and no job of it was started" if not jobs else ""
        for job in reversed(jobs):
            key, sha256 = f"{self._spec_folder(job)}/{SPEC}", self._spec_sha256(job)
            content = self._objects.find(key)
            if content and sha256_bytes(content) == sha256:
                spec = self._parsed(run, key, content, jobs)
                return (spec, "") if spec else None
            in_doubt = in_doubt or self._parsed(run, key, content, jobs)
            doubt = doubt or (_CHANGED.format(key=key) if sha256 else _NOT_NAMED)
        return (in_doubt, doubt) if in_doubt else None

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
        """Stop jobs that were running, and wait for all of them. One may have ended by itself meanwhile."""
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
                    f"it is stopping for {_STOP_SECONDS // 60} minutes", where=f"job {name}", fix="look again later"
                )
            time.sleep(POLL_SECONDS)


def no_run(run: str) -> NotFoundError:
    """Error for a missing run."""
    return NotFoundError(f"there is no run {run}", fix="`llmops runs list` shows the runs")
