"""Watches the memory of an endpoint's servers: `python -m llmops_kit.local_runtime.memory_watch HOME ENDPOINT`.

A server whose processes together pass its limit is replaced: another one starts, takes its place in the router once it
is ready, and the old one ends after its requests. A server that passes HARD_SHARE of its limit is killed: the router
sends its requests that have no answer yet to others, and supervisord starts it again.

The endpoint's record is written before each step, so that the watcher may be killed at any time: workers beyond the
wanted number, the last ones of a record, are removed by the next watcher or the next change of the endpoint. While a
change of the endpoint holds its lock, servers are only killed.
"""

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from llmops_kit.core.errors import KitError
from llmops_kit.local_runtime import memory
from llmops_kit.local_runtime.daemon import Daemon
from llmops_kit.local_runtime.endpoint import MOST_STARTS, HostedEndpoint
from llmops_kit.local_runtime.files import silent
from llmops_kit.local_runtime.ping import phase
from llmops_kit.local_runtime.spec import EndpointRecord, VariantRecord

HARD_SHARE = 1.5
"""Share of its limit above which a server is killed."""
LOOK_SECONDS = 1.0
_SOON_SECONDS = 900.0
"""A server that passes its limit within this time of the last replacement counts as one more in a row."""
_FIRST_DELAY_SECONDS, _MOST_DELAY_SECONDS = 30.0, 3600.0


def delay(in_row: int) -> float:
    """Returns the seconds between a replacement and the next one, after `in_row` of them in a row."""
    return min(_FIRST_DELAY_SECONDS * 2.0 ** max(0, in_row - 1), _MOST_DELAY_SECONDS)


@dataclass(frozen=True)
class Server:
    """A worker that uses more memory than its limit; bytes."""

    variant: str
    port: int
    tree: list[int]
    used: int
    limit: int

    @property
    def words(self) -> str:
        """The server with its figures."""
        which = f"the server on port {self.port} ({len(self.tree)} processes from pid {self.tree[0]})"
        return f"{which} uses {_mib(self.used)} of memory, its limit is {_mib(self.limit)}"


@dataclass
class Replacement:
    """A worker that takes the place of another one, from its start to the end of the old one."""

    variant: str
    old: list[int]
    new: int = 0
    why: str = ""
    routed: bool = False
    since: float = field(default_factory=time.monotonic)


class MemoryWatch:
    """Looks at all servers of an endpoint once, with each call of `look`."""

    def __init__(self, endpoint: HostedEndpoint) -> None:
        self._endpoint = endpoint
        self._current: Replacement | None = None
        self._in_row = 0
        self._ended = self._earliest = -_SOON_SECONDS
        self._waits = False

    def look(self) -> None:
        """Measures the servers, kills those far above their limit, and takes the next step of a replacement."""
        record = self._endpoint.record()
        over = self._over(record)
        for server in over:
            if server.used > HARD_SHARE * server.limit:
                self._kill(server)
        if self._current:
            self._step(self._current, record)
        elif not self._finish_others(record):
            self._replace([server for server in over if server.used <= HARD_SHARE * server.limit])

    def _over(self, record: EndpointRecord) -> list[Server]:
        """Returns the servers that use more than their limit, the largest first."""
        limited = [(v, port, r.spec.memory_bytes) for v, r in record.variants.items() for port in r.ports]
        states = {
            port: self._endpoint.daemon.started(self._endpoint.worker(v, port)) for v, port, most in limited if most
        }
        trees = memory.trees(state.pid for state in states.values() if state.running)
        found = []
        for variant, port, most in limited:
            if tree := trees.get(states[port].pid) if port in states else None:
                used = memory.memory_above(tree, most)
                found += [Server(variant, port, tree, used, most)] if used else []
        return sorted(found, key=lambda server: -server.used)

    def _kill(self, server: Server) -> None:
        killed = self._endpoint.memory_record().killed + 1
        words = f"{server.words}: killed above {_mib(int(HARD_SHARE * server.limit))} (kill {killed} of this endpoint)"
        self._endpoint.count_memory(killed=killed, last=_dated(words))
        _say(words)
        memory.kill(server.tree)

    def _replace(self, over: list[Server]) -> None:
        """Starts a replacement of the largest server that is ready, unless the last one was too recent."""
        ready = next((server for server in over if not phase(server.port)), None)
        if ready is None:
            return
        left = self._earliest - time.monotonic()
        if left > 0:
            if not self._waits:
                times = (
                    f"{self._in_row} replacements in a row passed the limit" if self._in_row > 1 else "just replaced"
                )
                _say(f"{ready.words}: {times}; the next replacement is in {left:.0f} s. {_RAISE}")
            self._waits = True
            return
        self._locked(lambda record: self._start(record, ready))

    def _start(self, record: EndpointRecord, server: Server) -> None:
        recorded = record.variants.get(server.variant)
        if not recorded or server.port not in recorded.ports or not record.on:
            return
        self._waits = False
        self._in_row = self._in_row + 1 if time.monotonic() - self._ended < _SOON_SECONDS else 1
        _say(f"{server.words}: starting another one in its place")
        record = self._endpoint.add_workers(record, recorded.spec, 1)
        changed = record.variants[server.variant]
        self._current = Replacement(server.variant, [server.port], changed.ports[-1], server.words)
        self._endpoint.start_workers(server.variant, changed)

    def _finish_others(self, record: EndpointRecord) -> bool:
        """Begins to remove workers beyond the wanted number, which a killed watcher or change left."""
        for variant, recorded in record.variants.items():
            if surplus := recorded.ports[recorded.spec.instances :]:
                return self._locked(lambda now: self._route(now, Replacement(variant, surplus)))  # noqa: B023 (at once)
        return False

    def _step(self, current: Replacement, record: EndpointRecord) -> None:
        recorded = record.variants.get(current.variant)
        if not recorded or not {*current.old, current.new} - {0} <= {*recorded.ports}:
            _say("the endpoint was changed meanwhile: the replacement is given up")
            self._end()
        elif current.routed:
            waited = time.monotonic() - current.since
            if self._endpoint.is_drained(current.old) or waited > recorded.spec.rollout.drain_seconds:
                self._locked(lambda now: self._remove(now, current))
        elif not (found := phase(current.new)):
            self._locked(lambda now: self._route(now, current))
        elif why := self._failed(current, recorded, found):
            self._locked(lambda now: self._give_up(now, current, why))

    def _failed(self, current: Replacement, recorded: VariantRecord, found: str) -> str:
        """Returns why the new worker is given up; empty if it may still become ready."""
        starts = self._endpoint.daemon.started(self._endpoint.worker(current.variant, current.new)).starts
        if starts > MOST_STARTS:
            return f"ended {starts - 1} times before it was ready"
        seconds = recorded.spec.ready_seconds
        return f"was not ready within {seconds:g} s ({found})" if time.monotonic() - current.since > seconds else ""

    def _route(self, record: EndpointRecord, current: Replacement) -> None:
        """Takes the old workers out of the router, and the new one in; the old ones become the record's last."""
        recorded = record.variants.get(current.variant)
        if not recorded or not {*current.old} <= {*recorded.ports}:
            return
        kept = [port for port in recorded.ports if port not in current.old]
        ordered = recorded.model_copy(update={"ports": [*kept, *current.old]})
        record = self._endpoint.save(record, variants=record.variants | {current.variant: ordered})
        backends = {v: r.ports for v, r in record.variants.items()} | {current.variant: kept}
        self._endpoint.route(self._endpoint.weights(), backends)
        current.routed, current.since = True, time.monotonic()
        self._current = current

    def _remove(self, record: EndpointRecord, current: Replacement) -> None:
        self._endpoint.remove_workers(record, current.variant, current.old)
        if current.new:
            replaced = self._endpoint.memory_record().replaced + 1
            words = (
                f"{current.why}: replaced by the one on port {current.new} (replacement {replaced} of this endpoint)"
            )
            self._endpoint.count_memory(replaced=replaced, last=_dated(words))
            _say(words)
        self._end()

    def _give_up(self, record: EndpointRecord, current: Replacement, why: str) -> None:
        self._endpoint.remove_workers(record, current.variant, [current.new])
        lines = self._endpoint.daemon.log_tail(
            self._endpoint.log(self._endpoint.worker(current.variant, current.new)), 5
        )
        words = f"{current.why}: not replaced, because the one on port {current.new} {why}"
        self._endpoint.count_memory(last=_dated(words))
        _say("\n  ".join([words, *lines]))
        self._end()

    def _end(self) -> None:
        self._current = None
        self._ended = time.monotonic()
        self._earliest = self._ended + delay(self._in_row)

    def _locked(self, act: Callable[[EndpointRecord], None]) -> bool:
        """Changes the endpoint, unless somebody else does; returns whether it was tried."""
        try:
            with self._endpoint.locked(silent, wait=False):
                act(self._endpoint.record())
        except BlockingIOError:
            return False
        return True


_RAISE = "If it serves as it should, raise `limits.memory_mb`."


def _mib(count: int) -> str:
    return f"{count >> 20} MiB"


def _dated(words: str) -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: {words}"


def _say(line: str) -> None:
    print(line, flush=True)


def main(arguments: Iterable[str]) -> None:
    """Watches until a signal ends this process."""
    home, name = arguments
    watch = MemoryWatch(HostedEndpoint(Daemon(Path(home)), name))
    while True:
        try:
            watch.look()
        except (KitError, OSError) as e:
            _say(f"{type(e).__name__}: {e}")
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1:])
