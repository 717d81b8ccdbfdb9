"""A job from its start to its end, on a thread of its own: attempts, waiting, watching its containers, and their end.

What a cloud calls its states, what it downloads and uploads, is its own: it derives from `JobRun`.
"""

import logging
import secrets
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hosting import jobs as hosting_jobs
from hosting.jobs import Job
from twins.core.faults import Fault, Faults
from twins.core.twin import BaseTwin

FOLDER = "jobs"
"""Where in a twin's home the containers' folders are; a job's are gone when it has ended."""
LOOK_SECONDS = 0.05


class ClosedError(Exception):
    """The twin ends, or the job's document is gone: nothing more is to be done for it."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended, in the cloud's words: the job's status, a secondary status or a code, and the reason of a
    failure.
    """

    status: str
    secondary: str = ""
    reason: str = ""


INTERRUPTED = Outcome("InProgress", "Interrupted")
"""The machines were taken back: another attempt follows."""


class EndError(Exception):
    """An attempt ends before its containers ran."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class JobRun(ABC):
    """A job that runs. It begins with `begin`."""

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
        """Look at the document now: it says that the job is to stop."""
        self.woken.set()

    def close(self) -> None:
        """Kill the containers, and leave the document as it is."""
        self.closed = True
        self.woken.set()

    def join(self) -> None:
        self._thread.join()

    # -- what a cloud says --------------------------------------------------------------------------------------------

    @abstractmethod
    def attempt(self) -> Outcome:
        """Wait for machines and work, once. EndError is for `work` inside; what it returns ends the attempt."""

    @abstractmethod
    def interrupted(self) -> None:
        """The machines were taken back: say so."""

    @abstractmethod
    def end(self, outcome: Outcome) -> None:
        """Write down how the job ended."""

    @abstractmethod
    def failed_inside(self, error: Exception) -> None:
        """The twin itself failed, which its user must not take for the job's fault."""

    @abstractmethod
    def look(self) -> None:
        """Go on unless somebody ended the job.

        Raises:
            EndError: it is to end.
            ClosedError: nothing more is to be done.
        """

    @abstractmethod
    def faults(self) -> Faults:
        """The faults of the twin; with its lock held."""

    # -- what is the same everywhere ----------------------------------------------------------------------------------

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
        """A fault that is wanted now: one that happens so many times has happened once more."""
        with self.twin.lock:
            faults = self.faults()
            counted = "times" in faults.kinds[kind].members
            return (faults.take if counted else faults.find)(kind, **subject)

    def reclaimed(self, seconds: float) -> bool:
        """Does the cloud take the machines back now, so many seconds after the containers began?"""
        with self.twin.lock:
            faults = self.faults()
            due = faults.find("spot_reclaim", job=self.name)
            if due and seconds >= due["after_seconds"]:
                faults.take("spot_reclaim", job=self.name)
                return True
        return False

    def watch(
        self,
        containers: Sequence[Job],
        outcome_now: Callable[[list[int | None], float], Outcome | None],
        keep_up: Callable[[], None],
        grace: float,
    ) -> Outcome:
        """Wait for the containers' end, or bring it about; afterwards none of them runs.

        Args:
            containers: of the attempt.
            outcome_now: of their exit codes and the seconds that passed; None: they go on.
            keep_up: called now and then.
            grace: seconds between SIGTERM and SIGKILL.

        Raises:
            ClosedError: nothing more is to be done.
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
    """Says when something is due that is done every so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def due(self) -> bool:
        """Is it due now? Then it counts as done."""
        if time.monotonic() - self._last <= self._seconds:
            return False
        self._last = time.monotonic()
        return True


def loopback_addresses(count: int) -> list[str]:
    """Addresses of this machine's own for a job's nodes, so that all may listen on the same port."""
    network = f"127.{64 + secrets.randbelow(128)}.{secrets.randbelow(256)}"
    return [f"{network}.{number}" for number in range(1, count + 1)]


def end_all(containers: Sequence[Job]) -> None:
    for each in containers:
        each.kill()
    for each in containers:
        each.wait()


def remove(folder: Path) -> None:
    """Remove a job's folders, those too that may only be read."""
    for path in folder.rglob("*") if folder.exists() else ():
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def clean(home: Path) -> None:
    """End and remove what the jobs of a twin that was killed left behind."""
    folder = home / FOLDER
    if folder.exists():
        hosting_jobs.end_leftovers(home, docker=True)
        remove(folder)
