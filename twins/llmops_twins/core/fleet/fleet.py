"""The containers of a twin's endpoints: starts them, distributes requests among them, and counts.

The twin's own supervisor (llmops_kit.local_runtime) runs them, so that they outlive a killed twin; the next process
adopts them.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmops_kit.core.errors import KitError
from llmops_kit.local_runtime.daemon import Daemon
from llmops_kit.local_runtime.routing.balance import Turns
from llmops_twins.core.fleet.cloud import FleetCloud, FleetRequest, Identity, Load, Twin
from llmops_twins.core.fleet.container_logs import LogTails
from llmops_twins.core.fleet.counts import RequestCounts
from llmops_twins.core.fleet.plan import FleetPlan
from llmops_twins.core.fleet.worker import LOGS, RECORD, WORKERS, Worker, WorkerContext, clean

FOLDER = "hosting"
"""The supervisor's folder in the twin's home."""
_LOOK_SECONDS = 0.1
_RESUME_SECONDS = 60.0
"""How long a request waits for the containers of an endpoint that was serving when its twin ended."""


def end_containers(home: Path, before_forgetting: Callable[[], None] = lambda: None) -> None:
    """Ends all containers of endpoints of the twin in `home`, and waits until they have ended; the twin itself need not
    run.
    """
    daemon = Daemon(home / FOLDER)
    if not daemon.home.exists():
        return
    if daemon.pid():
        daemon.shutdown()
    before_forgetting()
    for record in (daemon.home / WORKERS).glob(f"*/{RECORD}"):
        clean(record, daemon.home)
    daemon.remove(daemon.programs())
    for folder in (WORKERS, LOGS):
        shutil.rmtree(daemon.home / folder, ignore_errors=True)


class NoWorkerError(Exception):
    """Error for a request that no instance of an endpoint or variant can take now; the text gives the reason."""


class Lease:
    """The use of an instance by one request: `with fleet.lease(id) as lease:`. The instance is not ended before its
    leases are.

    `host` and `port` are the address for the request. `variant`, `instance` and `image` describe the instance that
    answers; `instances` is the number in service.
    """

    def __init__(self, fleet: "Fleet", worker: Worker, instances: int, streams: bool) -> None:
        self.host = "127.0.0.1"
        self.port = worker.port
        self.variant = worker.identity.variant
        self.instance = worker.identity.id
        self.image = worker.plan.image
        self.instances = instances
        self._fleet = fleet
        self._worker = worker
        self._streams = streams

    def done(
        self, status: int, model_seconds: float, overhead_seconds: float, first_byte_seconds: float | None = None
    ) -> None:
        """Counts the answer; a 5xx status (0: the connection was lost) triggers a check of the instance."""
        identity = self._worker.identity
        request = FleetRequest(
            identity.endpoint_id, identity.endpoint, self.variant, status, self.instances,
            model_seconds, overhead_seconds, first_byte_seconds, identity.group,
        )  # fmt: skip
        self._fleet.counts.count(request)
        if status == 0 or status >= 500:
            self._worker.suspect(lost=status == 0)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self._fleet.give_back(self._worker, self._streams)


@dataclass(frozen=True)
class FleetProgress:
    """Instances of a group: the number wanted, the number in service, and why some can't be started."""

    wanted: int
    in_service: int
    problem: str

    @property
    def complete(self) -> bool:
        return self.in_service >= self.wanted


@dataclass
class _Endpoint:
    """An endpoint's plan, and its workers by instance id."""

    plan: FleetPlan
    resumed_until: float = 0.0
    workers: dict[str, Worker] = field(default_factory=dict)
    turns: Turns = field(default_factory=Turns)
    number: int = 0

    def choose(self, variant: str) -> tuple[Worker, int] | None:
        """Returns the instance for the next request, and the number of instances of its variant in service. Groups and
        variants are chosen by shares and weights (those without an instance in service pass theirs on), then the
        instance with the fewest requests.
        """
        weights, ready = {}, {}
        for group in self.plan.groups:
            for each in group.variants:
                found = [w for i in each.instances if (w := self.workers.get(i)) and w.ready and not w.ending]
                weight = group.share * (1.0 if variant else each.weight)
                if found and weight > 0 and variant in ("", each.name):
                    weights[f"{group.id}/{each.name}"], ready[f"{group.id}/{each.name}"] = weight, found
        if not weights:
            return None
        found = ready[self.turns.next(weights)]
        chosen = min(found, key=lambda worker: (worker.in_flight, worker.chosen))
        self.number += 1
        chosen.chosen = self.number
        return chosen, len(found)

    def load_of(self, worker: Worker) -> tuple[Load, int]:
        """Returns a worker's variant, and its number of requests."""
        whose = worker.identity
        same = [w.in_flight for w in self.workers.values() if w.identity.variant == whose.variant]
        return (whose.endpoint_id, whose.endpoint, whose.variant), sum(same)

    def why_none(self, variant: str) -> str:
        names = {each.name for group in self.plan.groups for each in group.variants}
        if variant and variant not in names:
            return f"Variant {variant} not found for endpoint {self.plan.name}."
        problems = [worker.problem for worker in self.workers.values() if worker.problem]
        what = f"No instance of endpoint {self.plan.name} is in service"
        return f"{what}: {problems[0]}" if problems else f"{what}."


class Fleet:
    """All containers of a twin's endpoints. Thread-safe; never waits with the twin's lock held.

    The services set the desired state (`want`), which may be done with that lock held, and read the actual one
    (`progress`); threads of the fleet reconcile them.
    """

    def __init__(self, twin: Twin, cloud: FleetCloud) -> None:
        self._twin = twin
        self._cloud = cloud
        self._log = logging.getLogger(cloud.log_name)
        home = twin.home / FOLDER
        self._daemon = Daemon(home)
        self.counts = RequestCounts(twin, cloud)
        self._logs = LogTails(twin, cloud)
        self._context = WorkerContext(twin, cloud, self._daemon, self._logs, self._fault)
        self._endpoints: dict[str, _Endpoint] = {}
        self._ending: list[Worker] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    # -- requests

    def lease(self, endpoint_id: str, *, variant: str = "", streams: bool = False) -> Lease:
        """Leases an instance for the next request of an endpoint. Call without the twin's lock.

        Args:
            endpoint_id: the id in the endpoint's plan.
            variant: the requested variant; empty: chosen by the weights.
            streams: whether the answer is a stream, which gets more time when the instance is being ended.

        Raises:
            NoWorkerError: no instance can take it.
        """
        with self._changed:
            while True:
                endpoint = self._endpoints.get(endpoint_id)
                if endpoint is None:
                    raise NoWorkerError("No instance of the endpoint is in service.")
                if found := endpoint.choose(variant):
                    worker, instances = found
                    worker.in_flight += 1
                    worker.streams += streams
                    self.counts.note_load(*endpoint.load_of(worker))
                    return Lease(self, worker, instances, streams)
                left = endpoint.resumed_until - time.monotonic()
                if left <= 0 or self._closed:
                    raise NoWorkerError(endpoint.why_none(variant))
                self._changed.wait(min(left, 0.5))

    def give_back(self, worker: Worker, streams: bool) -> None:
        with self._changed:
            worker.in_flight -= 1
            worker.streams -= streams

    # -- desired and actual state

    def want(self, plan: FleetPlan) -> None:
        """Applies an endpoint's plan: traffic at once, containers in the background."""
        with self._changed:
            endpoint = self._endpoints.get(plan.id)
            if endpoint is None:
                if not plan.groups:
                    return
                endpoint = self._endpoints[plan.id] = _Endpoint(plan)
            endpoint.plan = plan
            wanted = {
                i: (Identity(i, each.name, plan.name, plan.id, g.name), each.container)
                for g in plan.groups
                for each in g.variants
                for i in each.instances
            }
            for instance in endpoint.workers.keys() - wanted.keys():
                self._ending.append(endpoint.workers.pop(instance))
                self._ending[-1].end()
            for instance in [i for i in wanted if i not in endpoint.workers]:
                identity, container = wanted[instance]
                endpoint.workers[instance] = Worker(identity, container, self._context, self._notify)
                endpoint.workers[instance].start()
            if not wanted:
                del self._endpoints[plan.id]
            self._ensure_thread()
            self._changed.notify_all()

    def progress(self, endpoint_id: str, group: str) -> FleetProgress:
        """Returns the progress of a group. An instance that was in service and is restarting counts as one."""
        with self._changed:
            endpoint = self._endpoints.get(endpoint_id)
            plans = [plan for plan in endpoint.plan.groups if plan.id == group] if endpoint else []
            ids = [i for plan in plans for variant in plan.variants for i in variant.instances]
            workers = [endpoint.workers[i] for i in ids] if endpoint else []
            problems = [worker.problem for worker in workers if worker.problem]
            return FleetProgress(len(ids), sum(worker.served for worker in workers), problems[0] if problems else "")

    def busy(self, endpoint_id: str) -> bool:
        return any(w.identity.endpoint_id == endpoint_id for w in self._all())

    def processes(self) -> list[tuple[Identity, int]]:
        """Returns the owner of each serving process."""
        return [(worker.identity, pid) for worker in self._all() if worker.ready and (pid := worker.pid)]

    def describe(self) -> list[dict[str, Any]]:
        """Returns every instance: its owner, state, process, port, restarts and requests."""
        found = []
        for worker in self._all():
            identity = worker.identity
            whose = {"endpoint": identity.endpoint, "variant": identity.variant, "instance": identity.id}
            found.append(whose | worker.describe())
        return found

    # -- start and end of the twin

    def resume(self, plans: Iterable[FleetPlan]) -> None:
        """Adopts the last process's containers that still run, and replaces the others."""
        wanted = [plan for plan in plans if plan.groups]
        if not self._daemon.alive():  # nothing to adopt
            end_containers(self._twin.home)
            self._logs.forget()
        for plan in wanted:
            self.want(plan)
            if endpoint := self._endpoints.get(plan.id):  # `want` drops endpoints without instances
                endpoint.resumed_until = time.monotonic() + _RESUME_SECONDS
        known = {instance for plan in wanted for g in plan.groups for v in g.variants for instance in v.instances}
        strays = [name for name in self._daemon.programs() if name.rpartition("-")[0] not in known]
        if strays or (self._daemon.pid() and not wanted):
            threading.Thread(target=self._end_strays, args=[strays], name="strays", daemon=True).start()

    def clear(self) -> None:
        """Ends every container without waiting, because the account is being emptied."""
        self._logs.end()  # lines and counts must not appear in the new account
        self.counts.forget()
        for plan in [endpoint.plan for endpoint in list(self._endpoints.values())]:
            self.want(plan.model_copy(update={"groups": []}))

    def close(self) -> None:
        """Ends all containers, and waits for that, because the twin is ending."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._all():
            worker.abandon()
        if self._thread:
            self._thread.join()
        with self._context.supervising:
            end_containers(self._twin.home, self._logs.read)
        self._logs.end()
        self.counts.flush()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _all(self) -> list[Worker]:
        with self._changed:
            serving = [worker for endpoint in self._endpoints.values() for worker in endpoint.workers.values()]
            return serving + [worker for worker in self._ending if worker.alive]

    def _fault(self, kind: str, image: str, meets: bool) -> dict[str, Any] | None:
        if not self._twin.state.get("faults"):
            return None
        with self._twin.lock:  # `take` counts these faults, but does not end them
            faults = self._cloud.faults()
            return (faults.take if meets else faults.find)(kind, image=image)

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        """Runs periodic work until the fleet is closed: saves lines and counts, crashes containers on request, and ends
        an idle supervisor.
        """
        while not self._closed:
            for work in (self._logs.read, self._measure, self._crash, self._end_idle_supervisor):
                self._guard(work)
            time.sleep(_LOOK_SECONDS)

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # one failing task must not stop the others
            self._log.exception("%s failed", getattr(work, "__qualname__", work))

    def _measure(self) -> None:
        with self._changed:
            loads = [e.load_of(worker) for e in self._endpoints.values() for worker in e.workers.values()]
        self.counts.flush(dict(loads))

    def _crash(self) -> None:
        for worker in self._all() if self._twin.state.get("faults") else []:
            if worker.ready:
                with self._twin.lock:
                    wanted = self._cloud.faults().take("crash", name=worker.identity.endpoint)
                if wanted:
                    worker.kill()

    def _end_idle_supervisor(self) -> None:
        with self._context.supervising:
            with self._changed:
                self._ending = [worker for worker in self._ending if worker.alive]
                idle = not self._endpoints and not self._ending
            if idle and self._daemon.pid():
                with suppress(KitError):
                    self._daemon.shutdown()

    def _end_strays(self, names: list[str]) -> None:
        """Ends containers that no plan contains: a killed twin had not saved them yet."""
        with suppress(KitError, OSError):
            self._daemon.remove(names)
        for name in names:
            folder = self._daemon.home / WORKERS / name.rpartition("-")[0]
            clean(folder / RECORD, self._daemon.home)
            shutil.rmtree(folder, ignore_errors=True)
        self._ensure_thread()
