"""One endpoint of a home: its record, its router, and the workers of its variants."""

import http.client
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmops_kit.core.errors import HostingError
from llmops_kit.core.integrity.digest import tree_hash
from llmops_kit.core.programs import import_path, package_folder
from llmops_kit.local_runtime import memory, runtimes
from llmops_kit.local_runtime.daemon import Daemon, Program, ProgramState
from llmops_kit.local_runtime.files import UnixConnection, locked
from llmops_kit.local_runtime.ping import phase
from llmops_kit.local_runtime.ports import choose_port, holder, require_free
from llmops_kit.local_runtime.routing import router
from llmops_kit.local_runtime.routing.balance import Routes
from llmops_kit.local_runtime.spec import (
    EndpointRecord,
    EndpointSpec,
    EndpointState,
    InstanceState,
    MemoryRecord,
    MemoryState,
    VariantRecord,
    VariantState,
)

MOST_STARTS = 3
"""A new worker is given up after this many starts without becoming ready."""
_KEPT_LOGS = 8
MEMORY = "memory.json"


class HostedEndpoint:
    """The endpoint `name` in the home of a supervisor. Hold `locked` while you change it."""

    def __init__(self, daemon: Daemon, name: str) -> None:
        self.daemon = daemon
        self.name = name
        self.folder = daemon.home / "endpoints" / name
        self.router_program = f"{name}--router"
        self.memory_program = f"{name}--memory"

    # -- the record

    @contextmanager
    def locked(self, say: Callable[[str], None], wait: bool = True) -> Iterator[None]:
        """Excludes other changes of this endpoint, in this and other processes. Without `wait`, raises BlockingIOError
        if another process holds the lock.
        """
        path = self.daemon.home / "locks" / f"{self.name}.lock"
        with locked(path, say, f"{self.name}: another process changes it; waiting", wait=wait):
            yield

    def record(self) -> EndpointRecord:
        """Returns the endpoint's record; an empty one if the endpoint never existed."""
        path = self.folder / "endpoint.json"
        return EndpointRecord.load(path) if path.exists() else EndpointRecord.new(name=self.name)

    def save(self, record: EndpointRecord, **changes: Any) -> EndpointRecord:
        """Writes the record with these fields changed."""
        changed = record.model_copy(update=changes)
        changed.write(self.folder / "endpoint.json")
        return changed

    # -- the router

    def ensure_router(self, record: EndpointRecord, spec: EndpointSpec) -> EndpointRecord:
        """Starts the router on the port and address of the spec, if it does not run there; an automatic port is chosen
        once and kept.

        Raises:
            HostingError: the port is taken.
        """
        port = spec.port or record.port or choose_port(spec.bind, self._ports_of_home())
        running = self.router_program in self.daemon.programs()
        moved, program = (port, spec.bind) != (record.port, record.bind), self._router_program()
        if running and (moved or not self.daemon.has(program)):  # the latter after a move or update of the kit
            if moved:
                require_free(spec.bind, port, self.name)
            self.daemon.remove([self.router_program])
            running = False
        if not running:
            require_free(spec.bind, port, self.name)
            record = self.save(record, port=port, bind=spec.bind)
            self._write_router(record)
            self.daemon.add(program)
        return record

    def wait_router(self, record: EndpointRecord) -> None:
        """Wait until the router answers.

        Raises:
            HostingError: with the last lines of its log.
        """
        deadline = time.monotonic() + 20
        while self.router_state() is None:
            if time.monotonic() > deadline:
                lines = self.daemon.log_tail(self.log(self.router_program))
                who = holder(record.port)
                raise HostingError(
                    f"the router on port {record.port} does not start:\n  " + "\n  ".join(lines),
                    where=f"endpoint {self.name}",
                    fix=f"{who} listens there: end it, or give the endpoint another `port`" if who else "",
                )
            time.sleep(0.05)

    def router_state(self) -> dict[str, Any] | None:
        """Returns the router's state of its backends, or None if it does not answer."""
        try:
            return self._admin("GET", "/state")
        except (OSError, http.client.HTTPException, ValueError):
            return None

    def route(self, weights: Mapping[str, int], backends: Mapping[str, list[int]]) -> None:
        """Sets all weights and instances at once. Ports that are not named drain.

        Raises:
            HostingError: the router does not answer, or rejects them.
        """
        known = self.record().variants
        variants = {
            v: {
                "weight": weights.get(v, 0),
                "backends": [f"http://127.0.0.1:{p}" for p in ports],
                "sockets": {f"http://127.0.0.1:{p}": self._socket(v, p) for p in ports},
                "key_sha256": known[v].spec.key_sha256,
                "keys_file": known[v].spec.keys_file,
            }
            for v, ports in backends.items()
        }
        body = Routes.new(variants=variants).to_json()
        deadline = time.monotonic() + 20
        while True:
            try:
                self._admin("PUT", "/routes", body)
                return
            except (OSError, http.client.HTTPException, ValueError) as e:
                if time.monotonic() > deadline:
                    raise HostingError(f"its router does not answer: {e}", where=f"endpoint {self.name}") from e
                time.sleep(0.05)

    def weights(self) -> dict[str, int]:
        """Returns the weights in force, or the last ones if the router does not answer."""
        path = self.folder / router.ROUTES
        routes = Routes.load(path) if path.exists() else Routes.new()
        return {v: r.weight for v, r in routes.variants.items()}

    def wait_drained(self, ports: list[int], seconds: float) -> bool:
        """Waits until the router has no request in flight to these ports; returns False if some are left after
        `seconds`.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.is_drained(ports):
                return True
            time.sleep(0.05)
        return False

    def is_drained(self, ports: list[int]) -> bool:
        """Returns whether the router has no request in flight to these ports, or does not answer."""
        urls = {f"http://127.0.0.1:{p}" for p in ports}
        state = self.router_state() or {"backends": [], "draining": []}
        return not any(b["url"] in urls and b["in_flight"] for b in state["backends"] + state["draining"])

    # -- the memory of workers

    def ensure_memory_watch(self, record: EndpointRecord) -> None:
        """Starts the program that watches the memory of the workers, if some have a limit, or ends it.

        After an update of the kit, the program is replaced by one with the new code.
        """
        limited = any(variant.spec.memory_bytes for variant in record.variants.values())
        argv = [sys.executable, "-m", "llmops_kit.local_runtime.memory_watch", str(self.daemon.home), self.name]
        program = Program(self.memory_program, argv, _environ(), self.folder, self.log(self.memory_program))
        wanted = limited and not memory.unwatched()
        running = self.memory_program in self.daemon.programs()
        if running and not (wanted and self.daemon.has(program)):
            self.daemon.remove([self.memory_program])
            running = False
        if wanted and not running:
            self.daemon.add(program)

    def memory_record(self) -> MemoryRecord:
        """Returns how often workers passed their limit of memory."""
        path = self.folder / MEMORY
        return MemoryRecord.load(path) if path.exists() else MemoryRecord.new()

    def count_memory(self, **changes: Any) -> None:
        """Writes the record of workers that passed their limit with these fields changed."""
        self.memory_record().model_copy(update=changes).write(self.folder / MEMORY)

    def _memory_state(self, spec: EndpointSpec | None) -> MemoryState:
        if not spec or not spec.memory_bytes:
            return MemoryState()
        counts = self.memory_record().model_dump(include={"replaced", "killed", "last"})
        return MemoryState(limit=spec.memory_bytes, unwatched=memory.unwatched(), **counts)

    # -- workers

    def worker(self, variant: str, port: int) -> str:
        """Returns the name of a worker's program."""
        return f"{self.name}--{variant}-{port}"

    def _root(self, variant: str, port: int) -> Path:
        return self.folder / "workers" / f"{variant}-{port}"

    def _socket(self, variant: str, port: int) -> str:
        return str(runtimes.handover_socket(self._root(variant, port)).relative_to(self.folder))

    def log(self, program: str) -> str:
        """Returns the path of a program's log, relative to the home."""
        return f"endpoints/{self.name}/logs/{program}.log"

    def add_workers(self, record: EndpointRecord, spec: EndpointSpec, count: int) -> EndpointRecord:
        """Records `count` more workers of the spec's variant, before they start."""
        known = record.variants.get(spec.variant)
        ports = list(known.ports) if known else []
        for _ in range(count):
            ports.append(choose_port("127.0.0.1", self._ports_of_home() | set(ports)))
        others = {v: r for v, r in record.variants.items() if v != spec.variant}
        return self.save(record, variants=others | {spec.variant: VariantRecord(spec=spec, ports=ports)})

    def start_workers(self, variant: str, recorded: VariantRecord) -> None:
        """Starts the workers of a variant that supervisord does not have yet."""
        present = self.daemon.programs()
        for port in recorded.ports:
            name = self.worker(variant, port)
            if name not in present:
                args = (recorded.spec, name, self.daemon.home, self._root(variant, port), port, self.log(name))
                self.daemon.add(runtimes.program(*args, handover=True))

    def wait_ready(self, variant: str, recorded: VariantRecord, say: Callable[[str], None]) -> None:
        """Wait until every worker of a variant answers /ping with 200.

        Raises:
            HostingError: one keeps ending, or is not ready in time; with the last lines of its log.
        """
        start = said = time.monotonic()
        before = {name: state.starts for name, state in self.daemon.programs().items()}
        waiting = list(recorded.ports)
        while phases := {port: found for port in waiting if (found := phase(port))}:
            waiting = list(phases)
            now = time.monotonic()
            states = self.daemon.programs()
            for name in (self.worker(variant, port) for port in waiting):
                starts = states.get(name, ProgramState(name)).starts - max(0, before.get(name, 0) - 1)
                if starts > MOST_STARTS:
                    raise self._not_ready(name, f"ended {starts - 1} times before it was ready")
            if now - start > recorded.spec.ready_seconds:
                name = self.worker(variant, waiting[0])
                raise self._not_ready(name, f"was not ready within {recorded.spec.ready_seconds:g} s")
            if now - said >= 5:
                said = now
                count = f"{len(waiting)} of {len(recorded.ports)} workers"
                say(f"{self.name}: waiting for {count}, {phases[waiting[0]]} ({now - start:.0f} s)")
            time.sleep(0.05)

    def remove_workers(self, record: EndpointRecord, variant: str, ports: list[int] | None = None) -> EndpointRecord:
        """Stops workers of a variant (None: all), and removes them from the record after they ended."""
        recorded = record.variants[variant]
        gone = recorded.ports if ports is None else ports
        names = [self.worker(variant, port) for port in gone]
        self.daemon.remove(names)
        runtimes.clean(recorded.spec, self.daemon.home, names)
        for port in gone:
            shutil.rmtree(self._root(variant, port), ignore_errors=True)
        left = [port for port in recorded.ports if port not in gone]
        variants = dict(record.variants)
        if left:
            variants[variant] = recorded.model_copy(update={"ports": left})
        else:
            del variants[variant]
        self._prune_logs()
        return self.save(record, variants=variants)

    def remove_strangers(self, record: EndpointRecord) -> None:
        """Stops programs that are not in the record: an interrupted change may have left them."""
        known = {self.worker(v, port) for v, r in record.variants.items() for port in r.ports}
        known |= {self.router_program, self.memory_program}
        self.daemon.remove(n for n in self.daemon.programs() if n.startswith(f"{self.name}--") and n not in known)

    def stop(self, record: EndpointRecord) -> EndpointRecord:
        """Stop the router, which finishes its requests, then all workers."""
        record = self.save(record, on=False)
        self.daemon.remove([self.router_program, self.memory_program])
        (self.folder / router.ROUTES).unlink(missing_ok=True)
        for variant in list(record.variants):
            record = self.remove_workers(record, variant)
        self.remove_strangers(record)
        return record

    # -- the state

    def state(self) -> EndpointState:
        """Returns the endpoint's address, and its variants with their weights and workers."""
        record = self.record()
        programs = self.daemon.programs()
        routed = self.router_state() or {"weights": self.weights(), "backends": []}
        healthy = {b["url"]: b["healthy"] for b in routed["backends"]}
        total = sum(routed["weights"].values()) or 1
        variants = []
        for variant, recorded in record.variants.items():
            instances = []
            for port in recorded.ports:
                name = self.worker(variant, port)
                program = programs.get(name, ProgramState(name))
                ready = program.running and healthy.get(f"http://127.0.0.1:{port}", False)
                restarts = max(0, program.starts - 1)
                instances.append(InstanceState(port=port, pid=program.pid, ready=ready, restarts=restarts))
            weight = round(100 * routed["weights"].get(variant, 0) / total)
            variants.append(VariantState(id=variant, weight=weight, instances=instances))
        router_pid = programs.get(self.router_program, ProgramState("")).pid
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(record.bind, record.bind)
        host = f"[{host}]" if ":" in host else host
        return EndpointState(
            name=self.name,
            on=record.on,
            url=f"http://{host}:{record.port}" if record.port and record.on else "",
            port=record.port,
            ready=bool(router_pid) and any(v.weight and i.ready for v in variants for i in v.instances),
            router_pid=router_pid,
            spec=record.spec,
            variants=variants,
            memory=self._memory_state(record.spec),
        )

    def _not_ready(self, program: str, what: str) -> HostingError:
        lines = self.daemon.log_tail(self.log(program))
        text = "".join(f"\n  {line}" for line in lines) or " (it wrote nothing)"
        where = self.daemon.home / self.log(program)
        return HostingError(f"endpoint {self.name}: a worker {what}; its last lines:{text}", where=str(where))

    def _write_router(self, record: EndpointRecord) -> None:
        document = router.RouterConfiguration.new(
            endpoint=self.name, bind=record.bind, port=record.port, supervisor_socket="../../supervisord.sock"
        )
        document.write(self.folder / router.CONFIGURATION)
        (self.folder / router.SOCKET).unlink(missing_ok=True)

    def _router_program(self) -> Program:
        argv = [sys.executable, "-m", "llmops_kit.local_runtime.routing.router", "."]
        log = self.log(self.router_program)
        return Program(self.router_program, argv, _environ(), self.folder, log, stop_seconds=40, priority=900)

    def _admin(self, method: str, path: str, body: str | None = None) -> Any:
        connection = UnixConnection(self.folder / router.SOCKET, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            document = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(document.get("error", answer.status))
        return document

    def _ports_of_home(self) -> set[int]:
        ports = set()
        for path in (self.daemon.home / "endpoints").glob("*/endpoint.json"):
            record = EndpointRecord.load(path)
            ports |= {record.port, *(port for v in record.variants.values() for port in v.ports)}
        return ports

    def _prune_logs(self) -> None:
        logs = sorted((self.folder / "logs").glob("*-v*.log*"), key=lambda p: p.stat().st_mtime)
        for path in logs[:-_KEPT_LOGS]:
            path.unlink(missing_ok=True)


def _environ() -> dict[str, str]:
    """Returns the environment of the kit's own programs: router, and watcher of memory."""
    environ = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": import_path(), "PYTHONSAFEPATH": "1"}
    return environ | {"PYTHONDONTWRITEBYTECODE": "1", "ROUTER_CODE": _router_code()}


def _router_code() -> str:
    """Returns a digest of the router's code. It is part of the program's environment, so that a router with an older
    kit's code, which may not understand this kit's routes, counts as another program and is replaced.
    """
    folders = (package_folder("core"), package_folder("local_runtime"))
    return tree_hash(
        {str(path.relative_to(folder.parent)): path for folder in folders for path in folder.rglob("*.py")}
    )
