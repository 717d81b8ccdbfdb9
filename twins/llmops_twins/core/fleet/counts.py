"""Collects counts of endpoints' requests until the twin has time to store them."""

import threading
import time
from collections.abc import Mapping

from llmops_twins.core.fleet.cloud import FleetCloud, FleetRequest, Load, Twin

_LOAD_SECONDS = 10.0
"""Interval between two data points of concurrent requests."""


class RequestCounts:
    """Collects counts; `flush` writes them, so that no request waits for the twin's lock."""

    def __init__(self, twin: Twin, cloud: FleetCloud) -> None:
        self._twin = twin
        self._cloud = cloud
        self._lock = threading.Lock()
        self._requests: list[tuple[float, FleetRequest]] = []
        self._most: dict[Load, int] = {}
        self._told: dict[Load, float] = {}

    def count(self, request: FleetRequest) -> None:
        with self._lock:
            self._requests.append((time.time(), request))

    def note_load(self, load: Load, requests: int) -> None:
        """Records the current number of requests of a variant."""
        with self._lock:
            self._most[load] = max(requests, self._most.get(load, 0))

    def forget(self) -> None:
        with self._lock:
            self._requests.clear()
            self._most.clear()

    def flush(self, loads: Mapping[Load, int] | None = None) -> None:
        """Writes the counts; `loads` are the current requests of each variant."""
        with self._lock:
            requests, self._requests = self._requests, []
        due = {load: most for load, now in (loads or {}).items() if (most := self._due(load, now)) is not None}
        if not requests and not due:
            return
        with self._twin.lock, self._twin.seldom():
            self._cloud.put_counts(requests, due)

    def _due(self, load: Load, requests: int) -> int | None:
        """Returns the highest number of requests of a variant since its last report if the next one is due; None
        otherwise. Idle variants are reported only if the cloud wants it.
        """
        elapsed = time.monotonic() - self._told.get(load, 0.0)
        if elapsed < self._twin.scaled(_LOAD_SECONDS):
            return None
        with self._lock:
            most = max(requests, self._most.pop(load, 0))
        if not most:
            with self._twin.lock:
                if not self._cloud.wants_idle(load):
                    return None
        self._told[load] = time.monotonic()
        return most
