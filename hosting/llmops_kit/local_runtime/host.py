"""Endpoints of one home on this machine, which outlive the process that starts them."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from llmops_kit.core.errors import HostingError
from llmops_kit.local_runtime import rollout, runtimes
from llmops_kit.local_runtime.daemon import Daemon
from llmops_kit.local_runtime.endpoint import HostedEndpoint
from llmops_kit.local_runtime.files import locked, silent
from llmops_kit.local_runtime.spec import EndpointSpec, EndpointState

USE_LOCK = ".use.lock"


class Host:
    """The endpoints below a folder. Homes are independent; several processes may use one at once."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self._daemon = Daemon(self.home)

    def apply(self, spec: EndpointSpec, say: Callable[[str], None] = silent) -> EndpointState:
        """Creates or updates an endpoint, and waits until it serves according to its spec.

        Nothing changes if it does already. An update starts the new variant beside the old one, moves the traffic
        when it is ready, and loses no request. The next call repairs an interrupted one.

        Args:
            spec: the wanted endpoint.
            say: called with one line for each step.

        Raises:
            HostingError: a port, image or folder is missing or taken; the new variant does not become ready, or
                failed as a canary. An old variant then serves as before.
        """
        runtimes.check(spec)
        endpoint = HostedEndpoint(self._daemon, spec.name)
        with endpoint.locked(say), self._in_use():
            self._daemon.ensure(say)
            try:
                rollout.bring(endpoint, spec, say)
            except HostingError:
                record = endpoint.record()
                if not record.on and not record.variants:
                    endpoint.stop(record)  # a failed first start leaves nothing behind
                raise
            return _await_ready(endpoint)

    def state(self, name: str) -> EndpointState:
        """Returns an endpoint's state: its address, whether it answers, and its variants.

        Raises:
            HostingError: there is none of this name.
        """
        return self._existing(name).state()

    def list(self) -> list[EndpointState]:
        """Returns all endpoints by name, including those that are off."""
        return [HostedEndpoint(self._daemon, name).state() for name in self._names()]

    def set_traffic(self, name: str, weights: Mapping[str, int]) -> EndpointState:
        """Sets the variants' shares of the requests; variants that are not named get none.

        Raises:
            HostingError: no such endpoint or variant, or no traffic at all.
        """
        endpoint = self._existing(name)
        with endpoint.locked(silent):
            record = endpoint.record()
            if unknown := weights.keys() - record.variants.keys():
                raise HostingError(
                    f"has no variant {', '.join(sorted(unknown))}",
                    where=f"endpoint {name}",
                    fix=f"there is {', '.join(record.variants) or 'none: it is off'}",
                )
            if not any(weights.values()) or min(weights.values()) < 0:
                raise HostingError("some variant needs a weight above 0", where=f"endpoint {name}")
            endpoint.route(weights, {v: r.ports for v, r in record.variants.items()})
        return endpoint.state()

    def stop(self, name: str) -> None:
        """Switches an endpoint off: ends its processes, and keeps its port and folder. `apply` switches it on.

        Raises:
            HostingError: there is none of this name.
        """
        endpoint = self._existing(name)
        with endpoint.locked(silent), self._in_use():
            endpoint.stop(endpoint.record())

    def remove(self, name: str) -> None:
        """Stops an endpoint and deletes it with its logs; does nothing if it doesn't exist."""
        endpoint = HostedEndpoint(self._daemon, name)
        if not endpoint.folder.exists():
            return
        with endpoint.locked(silent), self._in_use():
            endpoint.stop(endpoint.record())
            shutil.rmtree(endpoint.folder)

    def logs(self, name: str, follow: bool = False) -> Iterator[str]:
        """Yields the log lines of an endpoint's router and workers, each after its program's name, oldest file first.

        Args:
            name: the endpoint.
            follow: continue with new lines until the caller stops.

        Raises:
            HostingError: there is none of this name.
        """
        folder = self._existing(name).folder / "logs"
        return _lines(folder, f"{name}--", follow)

    def shutdown(self) -> None:
        """Ends every process of this home; the next `apply` of any endpoint restarts those that were on."""
        with locked(self.home / "locks" / USE_LOCK):
            self._daemon.shutdown()
            for name in self._names():
                for variant, recorded in HostedEndpoint(self._daemon, name).record().variants.items():
                    names = [HostedEndpoint(self._daemon, name).worker(variant, port) for port in recorded.ports]
                    runtimes.clean(recorded.spec, self.home, names)

    def alive(self) -> bool:
        """Returns whether the supervisor of this home runs."""
        return self._daemon.alive()

    def _existing(self, name: str) -> HostedEndpoint:
        if name not in self._names():
            raise HostingError(
                f"there is no endpoint {name!r}",
                where=str(self.home),
                fix=f"there is {', '.join(self._names())}"
                if self._names()
                else "`llmops up` makes the stack's endpoints",
            )
        return HostedEndpoint(self._daemon, name)

    def _names(self) -> "list[str]":
        return sorted(p.parent.name for p in (self.home / "endpoints").glob("*/endpoint.json"))

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Keeps supervisord while calls need it; the last call ends it if no program is left."""
        path = self.home / "locks" / USE_LOCK
        try:
            with locked(path, shared=True):
                yield
        finally:
            with suppress(BlockingIOError), locked(path, wait=False):
                if not self._daemon.programs():
                    self._daemon.shutdown()


def _await_ready(endpoint: HostedEndpoint) -> EndpointState:
    """Waits until the router has noticed that the workers are ready; returns the state after 10 s at most."""
    deadline = time.monotonic() + 10
    while not (state := endpoint.state()).ready and time.monotonic() < deadline:
        time.sleep(0.02)
    return state


def _lines(folder: Path, prefix: str, follow: bool) -> Iterator[str]:
    positions: dict[Path, int] = {}
    while True:
        for path in sorted(folder.glob("*.log"), key=lambda p: p.stat().st_mtime):
            if path.stat().st_size < positions.get(path, 0):
                positions[path] = 0  # rotated
            with path.open("rb") as f:
                f.seek(positions.get(path, 0))
                for line in f:
                    if not line.endswith(b"\n") and follow:
                        break
                    positions[path] = positions.get(path, 0) + len(line)
                    yield f"{path.stem.removeprefix(prefix)}: {line.decode(errors='replace').rstrip()}"
        if not follow:
            return
        time.sleep(0.2)
