"""What CloudWatch is told of endpoints' requests.

https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
"""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twins.aws.twin import Twin

_NAMESPACE = "AWS/SageMaker"
_AUTOSCALING = "application-autoscaling"
_LOAD_SECONDS = 10.0
"""Between two data points of ConcurrentRequestsPerModel on AWS."""
Load = tuple[str, str, str]
"""Region, endpoint and variant."""


@dataclass(frozen=True)
class Request:
    """One answered request; `instances` of its variant were in service. A `status` of 0: the container was lost."""

    region: str
    endpoint: str
    variant: str
    status: int
    instances: int
    model_seconds: float
    overhead_seconds: float
    first_byte_seconds: float | None

    def values(self) -> Iterator[tuple[str, float, str]]:
        """Name, value and unit of each metric."""
        yield "Invocations", 1.0, "None"
        yield "InvocationsPerInstance", 1.0 / max(1, self.instances), "None"
        yield "Invocation4XXErrors", float(400 <= self.status < 500), "None"
        yield "Invocation5XXErrors", float(self.status == 0 or self.status >= 500), "None"
        yield "ModelLatency", 1e6 * self.model_seconds, "Microseconds"
        yield "OverheadLatency", 1e6 * self.overhead_seconds, "Microseconds"
        if self.first_byte_seconds is not None:
            yield "FirstChunkModelLatency", 1e6 * self.first_byte_seconds, "Microseconds"
            yield "FirstChunkLatency", 1e6 * (self.first_byte_seconds + self.overhead_seconds), "Microseconds"


class Metrics:
    """Collects counts, and writes them when somebody has time for it: a request need not wait for the twin's lock."""

    def __init__(self, twin: "Twin") -> None:
        self._twin = twin
        self._lock = threading.Lock()
        self._requests: list[tuple[float, Request]] = []
        self._most: dict[Load, int] = {}
        self._told: dict[Load, float] = {}

    def count(self, request: Request) -> None:
        """One more answered request."""
        with self._lock:
            self._requests.append((time.time(), request))

    def note_load(self, load: Load, requests: int) -> None:
        """A variant has so many requests now."""
        with self._lock:
            self._most[load] = max(requests, self._most.get(load, 0))

    def flush(self, loads: Mapping[Load, int] | None = None) -> None:
        """Write what was counted; `loads` are the requests that each variant has now."""
        from twins.aws.services import cloudwatch

        with self._lock:
            requests, self._requests = self._requests, []
        due = {load: most for load, now in (loads or {}).items() if (most := self._due(load, now)) is not None}
        if not requests and not due:
            return
        with self._twin.lock, self._twin.seldom():
            for when, request in requests:
                dimensions = _dimensions(request.endpoint, request.variant)
                for name, value, unit in request.values():
                    metric = cloudwatch.Metric(_NAMESPACE, name, dimensions)
                    cloudwatch.put(self._twin, request.region, metric, value, unit, round(when, 3))
            for (region, endpoint, variant), value in due.items():
                metric = cloudwatch.Metric(_NAMESPACE, "ConcurrentRequestsPerModel", _dimensions(endpoint, variant))
                cloudwatch.put(self._twin, region, metric, float(value))

    def _due(self, load: Load, requests: int) -> int | None:
        """The most requests that a variant had since it was told of, when it is time to. An idle one is told of only
        where a scaling policy may look at it.
        """
        elapsed = time.monotonic() - self._told.get(load, 0.0)
        if elapsed < self._twin.scaled(_LOAD_SECONDS):
            return None
        with self._lock:
            most = max(requests, self._most.pop(load, 0))
        if not most and not self._is_scaled(load):
            return None
        self._told[load] = time.monotonic()
        return most

    def _is_scaled(self, load: Load) -> bool:
        region, endpoint, variant = load
        with self._twin.lock:
            targets = self._twin.state.get(_AUTOSCALING, {}).get(region, {}).get("targets", {})
            return any(target["ResourceId"] == f"endpoint/{endpoint}/variant/{variant}" for target in targets.values())


def _dimensions(endpoint: str, variant: str) -> tuple[tuple[str, str], ...]:
    return ("EndpointName", endpoint), ("VariantName", variant)
