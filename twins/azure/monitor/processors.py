"""How busy the containers of deployments keep this machine's processors: looked at as long as somebody asks for it."""

import time
from collections import deque
from contextlib import suppress

import psutil

from twins.azure.arm.ids import key
from twins.azure.twin import Twin
from twins.core.fleet.fleet import Fleet

_SAMPLE_SECONDS = 1.0
_ASKED_SECONDS = 600.0
_KEPT = 10_000


class Processors:
    """Samples of each deployment's instances, in percent of all processors of this machine. Of a container in Docker
    nothing is known: its processes are Docker's.
    """

    def __init__(self, twin: Twin, fleet: Fleet) -> None:
        self._fleet = fleet
        self._asked = -_ASKED_SECONDS
        self._last: dict[str, tuple[float, float]] = {}
        self._samples: deque[tuple[float, str, str, float]] = deque(maxlen=_KEPT)
        twin.every(_SAMPLE_SECONDS, self._sample)

    def percent(self, endpoint_id: str, deployment: str, begin: float, end: float) -> float | None:
        """The mean of a deployment's instances in a time; None: nothing is known of it (yet)."""
        self._asked = time.monotonic()
        found = [
            percent
            for when, endpoint, name, percent in self._samples
            if (endpoint, name) == (key(endpoint_id), deployment) and begin <= when < end
        ]
        return sum(found) / len(found) if found else None

    def _sample(self) -> None:
        if time.monotonic() - self._asked > _ASKED_SECONDS:
            self._last.clear()
            return
        now, seen = time.monotonic(), {}
        for whose, pid in self._fleet.processes():
            used = _seconds(pid)
            if whose.id in self._last:
                before, at = self._last[whose.id]
                percent = 100 * max(0.0, used - before) / max(0.001, now - at) / (psutil.cpu_count() or 1)
                self._samples.append((time.time(), whose.endpoint_id, whose.variant, min(100.0, percent)))
            seen[whose.id] = (used, now)
        self._last = seen


def _seconds(pid: int) -> float:
    """Processor time of a process and of those that it started."""
    total = 0.0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):
                times = each.cpu_times()
                total += times.user + times.system
    return total
