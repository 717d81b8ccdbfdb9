"""One instance of an endpoint, from its model data to its end: a thread that starts, checks and ends its container."""

import http.client
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmops_kit.core.errors import KitError
from llmops_kit.local_runtime import runtimes
from llmops_kit.local_runtime.daemon import Daemon, Program
from llmops_kit.local_runtime.files import write_atomic
from llmops_kit.local_runtime.ports import choose_port
from llmops_kit.local_runtime.spec import EndpointSpec
from llmops_twins.core.fleet.cloud import FleetCloud, Identity, ModelDataError, Trouble, Twin
from llmops_twins.core.fleet.container_logs import LogTails
from llmops_twins.core.fleet.plan import ContainerPlan, Probe

WORKERS, LOGS, RECORD = "workers", "logs", "worker.json"
"""Folders of the supervisor's home, and in a worker's folder the file that records what it runs."""
_MAX_ENDS = 2
"""A container that ends this often before it is ready is given up."""
_LOOK_SECONDS = 0.1
_RETRY_SECONDS = 10.0
_RESTART_SECONDS = 2.0
_DRAIN_SECONDS = 60.0  # the time limit of an invocation
_DRAIN_STREAM_SECONDS = 480.0
_ENDS_AT_ONCE = ["/bin/sh", "-c", "echo 'exec /usr/bin/serve: exec format error' >&2; exit 1"]


def clean(record: Path, home: Path) -> None:
    """Removes what the worker of a record may have left outside of its folder."""
    with suppress(OSError, ValueError, KeyError, KitError):
        found = json.loads(record.read_text())
        runtimes.clean(EndpointSpec.model_validate(found["spec"]), home, [found["program"]])


class CannotServeError(Exception):
    """Error for an instance whose container can't serve, in the cloud's words where they are known."""


@dataclass(frozen=True)
class WorkerContext:
    """Shared by all workers of a twin. `fault(kind, image, meets)` returns an active fault of containers, if any
    (`meets`: it is used up once); `supervising` is held while the supervisor may end, and while a program is added.
    """

    twin: Twin
    cloud: FleetCloud
    daemon: Daemon
    logs: LogTails
    fault: Callable[[str, str, bool], dict[str, Any] | None]
    supervising: threading.Lock = field(default_factory=threading.Lock)


class Worker:
    """An instance. `port` is its container's, 0 until it is known; `ready` while it may get requests; `problem` is the
    reason why it can't serve; `in_flight` counts its requests, `streams` the streaming ones.
    """

    def __init__(
        self, identity: Identity, plan: ContainerPlan, context: WorkerContext, told: Callable[[], None]
    ) -> None:
        self.identity = identity
        self.plan = plan
        self.port = 0
        self.ready = False
        self.problem = ""
        self.served = False
        self.restarts = 0
        self.in_flight = 0
        self.streams = 0
        self.chosen = 0
        self._context = context
        self._log = logging.getLogger(context.cloud.log_name)
        self._told = told
        self._met: set[str] = set()
        self._program = ""
        self._spec: EndpointSpec | None = None
        self._ending = threading.Event()
        self._abandoned = False
        self._suspect = threading.Event()
        self._thread = threading.Thread(target=self._run, name=identity.id, daemon=True)

    # -- called by the fleet

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Accepts no more requests, and ends the container after those in progress. Does not wait."""
        self.ready = False
        self._ending.set()

    def abandon(self) -> None:
        """Ends the thread but not the container, which the caller ends."""
        self._abandoned = True
        self.end()

    @property
    def ending(self) -> bool:
        return self._ending.is_set()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def suspect(self, lost: bool) -> None:
        """Checks the container now, after a failed request. With `lost`, the connection failed, so it gets no more
        requests until it answers.
        """
        if lost:
            self.ready = False
        self._suspect.set()

    def kill(self) -> bool:
        """Kills the container, as a crash does; False if it is not running."""
        state = self._context.daemon.started(self._program)
        if not state.running:
            return False
        if self.plan.reference.startswith("docker:"):
            name = runtimes.container_name(self._context.daemon.home, self._program)
            subprocess.run(["docker", "kill", name], stdin=subprocess.DEVNULL, capture_output=True)
        else:
            with suppress(ProcessLookupError):
                os.kill(state.pid, signal.SIGKILL)
        self.suspect(lost=True)
        return True

    @property
    def pid(self) -> int:
        """The process of the container, or the one that represents it; 0 if none is running."""
        return self._context.daemon.started(self._program).pid if self._program else 0

    def describe(self) -> dict[str, Any]:
        state = "ending" if self.ending else "in service" if self.ready else self.problem or "starting"
        return {
            "state": state,
            "pid": self.pid,
            "port": self.port,
            "restarts": self.restarts,
            "requests": self.in_flight,
        }

    # -- run on its own thread

    def _run(self) -> None:
        while not self.ending:
            try:
                self._bring_up()
                self._watch()
            except CannotServeError as e:
                self._fail(str(e))
            except Exception as e:  # a failure of this machine, such as a full disk
                self._log.exception("instance %s of %s", self.identity.id, self.identity.endpoint)
                self._fail(self._trouble("internal", f"{type(e).__name__}: {e}"))
        self._drain()
        if not self._abandoned:
            self._take_down()
        self._told()

    def _fail(self, problem: str) -> None:
        self._take_down()
        self.problem = problem
        self._told()
        self._ending.wait(_RETRY_SECONDS)

    def _bring_up(self) -> None:
        if not self._adopt():
            self._begin()
        self._context.logs.add(self.identity, self._context.daemon.home / self._log_file(self._program))
        self._await_ready()
        self._context.logs.read(self.identity.id)  # the lines of its start are stored before its first request
        self.ready, self.served, self.problem = not self.ending, True, ""
        self._told()

    def _adopt(self) -> bool:
        """Adopts the container that a killed twin left running, if it still matches the plan; returns False
        otherwise.
        """
        try:
            record = json.loads(self._record().read_text())
            spec = EndpointSpec.model_validate(record["spec"])
        except (OSError, ValueError, KeyError):
            return False
        self.port, self._program, self._spec = record["port"], record["program"], spec
        folders_there = all(Path(folder).exists() for folder in spec.folders.values())
        with suppress(KitError):
            program = self._as_program()
            if folders_there and self._context.daemon.alive() and self._context.daemon.has(program):
                self._context.daemon.add(program)
                return True
        self._take_down()
        return False

    def _begin(self) -> None:
        folders = self._download()
        self._met.clear()
        command = _ENDS_AT_ONCE if self._fault("bad_image") else None
        self._spec = self.plan.spec(folders, command)
        self.port = choose_port("127.0.0.1")
        self._program = f"{self.identity.id}-{self.port}"
        try:
            runtimes.pull(self.plan.reference)
            record = {"port": self.port, "program": self._program, "spec": self._spec.model_dump(mode="json")}
            write_atomic(self._record(), json.dumps(record))
            with self._context.supervising:
                if not self.ending:
                    self._context.daemon.ensure()
                    self._context.daemon.add(self._as_program())
        except KitError as e:
            raise CannotServeError(self._trouble("image", str(e))) from e

    def _download(self) -> dict[str, str]:
        began, found = time.monotonic(), {}
        try:
            for number, source in enumerate(self.plan.data):
                target = self._folder() / "data" / str(number)
                target.mkdir(parents=True)
                self._context.cloud.fetch(self.identity, source, target)
                _make_readable(target)
                found[source.path] = str(target)
        except ModelDataError as e:
            raise CannotServeError(self._trouble("data", str(e))) from e
        if time.monotonic() - began > self.plan.download_seconds:
            raise CannotServeError(self._trouble("data_late", f"{self.plan.download_seconds:g}"))
        return found

    def _await_ready(self) -> None:
        daemon, began = self._context.daemon, time.monotonic()
        before = max(0, daemon.started(self._program).starts - 1)
        while not self.ending:
            state, lasted = daemon.started(self._program), time.monotonic() - began
            delay, limit = self._start_times()
            if lasted >= delay and self._probe_succeeds(self.plan.ready):
                self.restarts = max(0, state.starts - 1)
                return
            ends = state.starts - before - state.running
            if ends >= _MAX_ENDS or lasted > limit:
                self._context.logs.read(self.identity.id)
                raise CannotServeError(self._trouble("not_ready", "ended" if ends >= _MAX_ENDS else "silent"))
            self._ending.wait(_LOOK_SECONDS / 2)

    def _start_times(self) -> tuple[float, float]:
        """Returns the seconds for which a fault delays the container's readiness, and the time limit for it."""
        limit, scaled = self.plan.start_seconds, self._context.twin.scaled
        if self._fault("silent"):
            return math.inf, scaled(limit)
        slow = float((self._fault("slow_start") or {}).get("seconds", 0))
        return scaled(slow), scaled(limit) if slow > limit else limit

    def _fault(self, kind: str) -> dict[str, Any] | None:
        found = self._context.fault(kind, self.plan.image, kind not in self._met)
        if found:
            self._met.add(kind)
        return found

    def _watch(self) -> None:
        """Checks the process and the probes of a serving container until it is to end."""
        daemon, probe = self._context.daemon, self.plan.ready
        missed, next_ask = _ProbeFailures(), time.monotonic() + probe.every
        pid = daemon.started(self._program).pid
        while not self.ending:
            self._suspect.wait(_LOOK_SECONDS)
            state = daemon.started(self._program)
            if not state.running or state.pid != pid:
                pid, self.ready, self.restarts = state.pid, False, max(0, state.starts - 1)
                missed = _ProbeFailures()
                self._await_restart()
            if self.ready and not self._suspect.is_set() and time.monotonic() < next_ask:
                continue
            self._suspect.clear()
            next_ask = time.monotonic() + probe.every
            answers = bool(pid) and self._probe_succeeds(probe)
            missed.ready = 0 if answers else missed.ready + 1
            ready = answers or (self.ready and missed.ready < probe.failures)
            if ready != self.ready and not self.ending:
                self.ready = ready
                self._told()
            if pid:
                self._check_liveness(missed)

    def _check_liveness(self, missed: "_ProbeFailures") -> None:
        """Kills a container that fails its liveness probe; the supervisor restarts it."""
        probe = self.plan.live
        if not probe or time.monotonic() < missed.next_live:
            return
        missed.next_live = time.monotonic() + probe.every
        missed.live = 0 if self._probe_succeeds(probe) else missed.live + 1
        if missed.live >= probe.failures:
            missed.live = 0
            self.kill()

    def _await_restart(self) -> None:
        """Waits for the restart of the container, and restarts the supervisor if it takes too long."""
        deadline = time.monotonic() + _RESTART_SECONDS
        while not self._context.daemon.started(self._program).running:
            if self._ending.wait(_LOOK_SECONDS / 2):
                return
            if time.monotonic() > deadline:
                with suppress(KitError), self._context.supervising:
                    if not self.ending:
                        self._context.daemon.ensure()
                return

    def _drain(self) -> None:
        began = time.monotonic()
        while self.in_flight and not self._abandoned:
            if time.monotonic() - began > (_DRAIN_STREAM_SECONDS if self.streams else _DRAIN_SECONDS):
                return
            time.sleep(_LOOK_SECONDS / 2)

    def _take_down(self) -> None:
        if self._program and self._spec:
            try:
                self._context.daemon.remove([self._program])
                runtimes.clean(self._spec, self._context.daemon.home, [self._program])
            except Exception:  # `end_containers` may end the supervisor meanwhile
                self._log.exception("instance %s of %s could not be ended", self.identity.id, self.identity.endpoint)
            self._context.logs.close(self.identity.id)
            for file in (self._context.daemon.home / LOGS).glob(f"{self._program}.log*"):
                file.unlink(missing_ok=True)
        shutil.rmtree(self._folder(), ignore_errors=True)
        self._program, self._spec, self.port = "", None, 0

    def _as_program(self) -> Program:
        assert self._spec
        home = self._context.daemon.home
        log_file = self._log_file(self._program)
        return runtimes.program(self._spec, self._program, home, self._folder() / "root", self.port, log_file)

    def _folder(self) -> Path:
        return self._context.daemon.home / WORKERS / self.identity.id

    def _record(self) -> Path:
        return self._folder() / RECORD

    @staticmethod
    def _log_file(program: str) -> str:
        return f"{LOGS}/{program}.log"

    def _trouble(self, kind: Trouble, detail: str) -> str:
        return self._context.cloud.trouble(kind, self.identity, self.plan, detail)

    def _probe_succeeds(self, probe: Probe) -> bool:
        """Returns whether the container answers a probe with a success."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=probe.timeout)
        try:
            connection.request("GET", probe.path)
            return self._context.cloud.answers_well(connection.getresponse().status)
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@dataclass
class _ProbeFailures:
    """Consecutive failures of each probe, and the time of the next liveness probe."""

    ready: int = 0
    live: int = 0
    next_live: float = 0.0


def _make_readable(folder: Path) -> None:
    """Makes files readable for any user that a container runs as, and writable for none: a file may be the stored
    object itself.
    """
    for base, _, names in os.walk(folder):
        Path(base).chmod(0o755)
        for name in names:
            Path(base, name).chmod(0o444)
