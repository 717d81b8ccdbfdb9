"""Counts of endpoints' requests, for metrics, alerts and autoscale.

https://learn.microsoft.com/azure/machine-learning/monitor-azure-machine-learning-reference
"""

import bisect
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

from llmops_twins.azure.protocol.ids import key
from llmops_twins.azure.twin import TenantTwin

_STATE = "requests"
_KEPT = 10_000
"""Requests kept per endpoint, because a twin's state is written as a whole."""
_WRITE_SECONDS = 0.2


@dataclass(frozen=True)
class ScoredRequest:
    """A request answered at `when`, after `seconds`. `status` is the client's, `model_status` the container's (0: it
    was not reached); `deployment` is empty if none was chosen.
    """

    when: float
    endpoint: str
    deployment: str
    status: int
    model_status: int
    seconds: float
    sent: int
    received: int


class RequestMeter:
    """Collects counts of requests, and saves them in the background, so that no request waits for the twin's lock."""

    def __init__(self, twin: TenantTwin) -> None:
        self._twin = twin
        self._lock = threading.Lock()
        self._new: list[ScoredRequest] = []
        self._open: dict[tuple[str, str], int] = {}
        self._samples: deque[tuple[float, str, int]] = deque(maxlen=_KEPT)
        twin.every(_WRITE_SECONDS, self._write)

    def count(
        self,
        endpoint_id: str,
        deployment: str,
        status: int,
        model_status: int,
        seconds: float,
        *,
        sent: int = 0,
        received: int = 0,
    ) -> None:
        """Counts a request (`ScoredRequest`), with the bytes to the client and from it."""
        answered = ScoredRequest(
            time.time(), key(endpoint_id), deployment, status, model_status, seconds, sent, received
        )  # fmt: skip
        with self._lock:
            self._new.append(answered)

    def began(self, endpoint_id: str, deployment: str, most: int) -> bool:
        """Counts the start of a deployment's request; returns False if `most` requests are in progress already."""
        name = (key(endpoint_id), deployment)
        with self._lock:
            if self._open.get(name, 0) >= most:
                return False
            self._open[name] = self._open.get(name, 0) + 1
            return True

    def ended(self, endpoint_id: str, deployment: str) -> None:
        """Counts the end of a request that `began`."""
        name = (key(endpoint_id), deployment)
        with self._lock:
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]

    def connections(self, endpoint_id: str, begin: float, end: float) -> list[int]:
        """Returns samples of an endpoint's concurrent requests; empty while it idles."""
        with self._lock:
            return [n for when, name, n in self._samples if name == key(endpoint_id) and begin <= when < end]

    def every(self, begin: float, end: float) -> list[ScoredRequest]:
        """Returns the requests of all endpoints in a period; with the twin's lock."""
        self._write()
        return [each for endpoint in self._rows() for each in self.since(endpoint, begin, end)]

    def since(self, endpoint_id: str, begin: float, end: float) -> list[ScoredRequest]:
        """Returns the requests of an endpoint in a period; with the twin's lock."""
        self._write()
        name = key(endpoint_id)
        rows = self._rows().get(name, [])
        first, last = (bisect.bisect_left(rows, when, key=lambda row: row[0]) for when in (begin, end))
        return [ScoredRequest(row[0], name, *row[1:]) for row in rows[first:last]]

    def forget(self, endpoint_id: str) -> None:
        """Drops a deleted endpoint's counts; with the twin's lock."""
        self._rows().pop(key(endpoint_id), None)

    def _write(self) -> None:
        with self._lock:
            new, self._new = self._new, []
            now, at_once = time.time(), Counter[str]()
            for (endpoint, _), count in self._open.items():
                at_once[endpoint] += count
            self._samples += [(now, endpoint, count) for endpoint, count in at_once.items()]
        if not new:
            return
        with self._twin.seldom():
            for each in new:
                rows = self._rows().setdefault(each.endpoint, [])
                row = [
                    each.deployment,
                    each.status,
                    each.model_status,
                    round(each.seconds, 6),
                    each.sent,
                    each.received,
                ]
                bisect.insort(rows, [round(each.when, 3), *row], key=lambda row: row[0])
            for rows in self._rows().values():
                del rows[:-_KEPT]
            self._twin.changed()

    def _rows(self) -> dict[str, list[list[Any]]]:
        """Returns the requests by endpoint, in order: the fields of `ScoredRequest` without its endpoint."""
        return self._twin.state.setdefault(_STATE, {})
