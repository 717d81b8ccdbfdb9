"""Runs a job from start to end, on its own thread: attempts, waiting, watching its containers, and their end.

Clouds derive their own states, downloads and uploads from `JobRun`.
"""

import logging
import secrets
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from llmops_kit.local_runtime import job_containers as hosting_jobs
from llmops_kit.local_runtime.job_containers import Job
from llmops_twins.core.faults import Fault, Faults
from llmops_twins.core.jobs.job_files import files
from llmops_twins.core.twin import BaseTwin

FOLDER = "jobs"
"""Folder in a twin's home for the folders of jobs' containers, which are removed when the job has ended."""
LOOK_SECONDS = 0.05


class ClosedError(Exception):
    """Raised when the twin ends, or the job's document is gone: the thread ends without recording an outcome."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of an attempt, in the cloud's words: the job's status, a secondary status or a code, and the reason
    of a failure.
    """

    status: str
    secondary: str = ""
    reason: str = ""


INTERRUPTED = Outcome("InProgress", "Interrupted")
"""The outcome of an attempt whose machines were reclaimed: another one follows."""


class EndError(Exception):
    """Raised to end an attempt with an outcome before its containers ran."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class JobRun(ABC):
    """A running job, started by `begin`."""

    log_name = "twins"

    def __init__(self, twin: BaseTwin, name: str) -> None:
        self.twin = twin
        self.name = name
        self.home = twin.home / FOLDER / f"{name}-{secrets.token_hex(3)}"
        self.woken = threading.Event()
        self.closed = False
        self.log = logging.getLogger(self.log_name)
        self._thread = threading.Thread(target=self._run, name=f"job {name}", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Wakes the job so that it reads from its document that it must stop."""
        self.woken.set()

    def close(self) -> None:
        """Makes the job's thread kill the containers, leaving the document unchanged."""
        self.closed = True
        self.woken.set()

    def join(self) -> None:
        self._thread.join()

    # -- implemented by each cloud ------------------------------------------------------------------------------------

    @abstractmethod
    def attempt(self) -> Outcome:
        """Waits for machines and runs the job once. `work` may raise EndError; its result ends the attempt."""

    @abstractmethod
    def interrupted(self) -> None:
        """Records that the machines were reclaimed."""

    @abstractmethod
    def end(self, outcome: Outcome) -> None:
        """Records the outcome of the job."""

    @abstractmethod
    def failed_inside(self, error: Exception) -> None:
        """Records a failure of the twin itself, which must not look like the job's."""

    @abstractmethod
    def look(self) -> None:
        """Returns while the job may continue.

        Raises:
            EndError: the attempt must end.
            ClosedError: the twin ends, or the job's document is gone.
        """

    @abstractmethod
    def faults(self) -> Faults:
        """Returns the faults of the twin; with its lock held."""

    # -- shared by all clouds -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            outcome = self.attempt()
            while outcome is INTERRUPTED:
                self.interrupted()
                try:
                    self.pause(self.twin.settings.pace)
                except EndError as e:
                    outcome = e.outcome
                else:
                    outcome = self.attempt()
            self.end(outcome)
        except ClosedError:
            pass
        except Exception as e:
            self.log.exception("job %s", self.name)
            self.failed_inside(e)
        finally:
            remove(self.home)

    def pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.woken.wait(min(left, 1.0))
            self.look()
        self.look()

    def fault(self, kind: str, **subject: str) -> Fault | None:
        """Returns an active fault, and uses it up once if its number of times is limited."""
        with self.twin.lock:
            faults = self.faults()
            counted = "times" in faults.kinds[kind].members
            return (faults.take if counted else faults.find)(kind, **subject)

    def reclaimed(self, seconds: float) -> bool:
        """Returns whether the cloud reclaims the machines now, this many seconds after the containers started."""
        with self.twin.lock:
            faults = self.faults()
            for fault in faults.matching("spot_reclaim", job=self.name):
                # Faults saved by earlier versions have no `after_file`.
                if seconds >= fault["after_seconds"] and self._has_written(fault.get("after_file", "")):
                    faults.use("spot_reclaim", fault)
                    return True
        return False

    def _has_written(self, pattern: str) -> bool:
        if not pattern:
            return True
        return any(fnmatchcase(file.relative_to(self.home).as_posix(), pattern) for file in files(self.home))

    def watch(
        self,
        containers: Sequence[Job],
        outcome_now: Callable[[list[int | None], float], Outcome | None],
        keep_up: Callable[[], None],
        grace: float,
    ) -> Outcome:
        """Waits for the containers' end, or causes it; none of them runs afterwards.

        Args:
            containers: the containers of the attempt.
            outcome_now: returns the outcome from their exit codes and the elapsed seconds; None: they continue.
            keep_up: called periodically.
            grace: seconds between SIGTERM and SIGKILL.

        Raises:
            ClosedError: the twin ends, or the job's document is gone.
        """
        began = time.monotonic()

        def closing() -> bool:
            keep_up()
            return self.closed

        try:
            while True:
                codes = [each.wait(0) for each in containers]
                if self.closed:
                    raise ClosedError
                if outcome := outcome_now(codes, time.monotonic() - began):
                    break
                keep_up()
                self.woken.wait(LOOK_SECONDS)
            hosting_jobs.stop(containers, grace, closing)
            if self.closed:
                raise ClosedError
            return outcome
        finally:
            end_all(containers)


class Rhythm:
    """Determines when a periodic task is due."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def due(self) -> bool:
        """Returns whether the task is due now; if so, it counts as done."""
        if time.monotonic() - self._last <= self._seconds:
            return False
        self._last = time.monotonic()
        return True


def loopback_addresses(count: int) -> list[str]:
    """Returns loopback addresses for a job's nodes, so that all can listen on the same port."""
    network = f"127.{64 + secrets.randbelow(128)}.{secrets.randbelow(256)}"
    return [f"{network}.{number}" for number in range(1, count + 1)]


def end_all(containers: Sequence[Job]) -> None:
    for each in containers:
        each.kill()
    for each in containers:
        each.wait()


def remove(folder: Path) -> None:
    """Removes a job's folders, read-only ones included."""
    for path in folder.rglob("*") if folder.exists() else ():
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def clean(home: Path) -> None:
    """Ends containers and removes folders that the jobs of a killed twin left behind."""
    folder = home / FOLDER
    if folder.exists():
        hosting_jobs.end_leftovers(home, docker=True)
        remove(folder)
