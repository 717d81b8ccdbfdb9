"""The nodes of clusters: assignment to jobs, the queue, and scale-down of idle ones.

https://learn.microsoft.com/azure/machine-learning/how-to-create-attach-compute-cluster
"""

import time
from collections.abc import Mapping

from llmops_twins.azure.ml import sizes
from llmops_twins.azure.ml.ml_documents import seconds
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.protocol.ids import key
from llmops_twins.azure.twin import TenantTwin


class Nodes:
    """The nodes of all clusters. Its methods are called with the twin's lock held."""

    def __init__(self, twin: TenantTwin) -> None:
        self._twin = twin
        self._waiting: dict[str, list[str]] = {}
        self._held: dict[str, dict[str, int]] = {}
        self._preparing: dict[str, set[str]] = {}
        self._idle: dict[str, list[float]] = {}

    def wait(self, compute: Document, job_id: str) -> None:
        """Queues a job."""
        queue = self._waiting.setdefault(key(compute["id"]), [])
        if job_id not in queue:
            queue.append(job_id)

    def take(self, compute: Document, job_id: str, wanted: int) -> int | None:
        """Assigns nodes to a job if it is its turn, enough are free, and the quota allows them.

        Returns:
            The number of nodes that have to be started; None if the job must wait.
        """
        name = key(compute["id"])
        held, queue = self._held.setdefault(name, {}), self._waiting.setdefault(name, [])
        most = int(compute["properties"]["properties"]["scaleSettings"]["maxNodeCount"])
        if queue[:1] != [job_id] or sum(held.values()) + wanted > most:
            return None
        idle = self._live_idle(compute)
        new = max(0, wanted - len(idle))
        if not self._within_quota(compute, new):
            return None
        queue.remove(job_id)
        held[job_id] = wanted
        self._idle[name] = idle[wanted:]
        if new:
            self._preparing.setdefault(name, set()).add(job_id)
        return new

    def ready(self, compute_id: str, job_id: str) -> None:
        """Marks a job's nodes as prepared."""
        self._preparing.get(key(compute_id), set()).discard(job_id)

    def give_back(self, compute_id: str, job_id: str, *, lost: bool = False) -> None:
        """Releases a job's nodes and its place in the queue; with `lost`, the nodes were reclaimed and don't become
        idle.
        """
        name = key(compute_id)
        self.ready(compute_id, job_id)
        queue = self._waiting.get(name, [])
        if job_id in queue:
            queue.remove(job_id)
        count = self._held.get(name, {}).pop(job_id, 0)
        compute = self._twin.find(compute_id)
        if compute and not lost:
            scale = compute["properties"]["properties"]["scaleSettings"]
            stays = seconds(scale.get("nodeIdleTimeBeforeScaleDown") or "PT120S", "nodeIdleTimeBeforeScaleDown")
            until = time.monotonic() + self._twin.scaled(stays)
            self._idle[name] = [*self._live_idle(compute), *[until] * count]

    def states(self, compute_id: str) -> Mapping[str, int]:
        """Returns the number of nodes by state."""
        name, compute = key(compute_id), self._twin.find(compute_id)
        held, preparing = self._held.get(name, {}), self._preparing.get(name, set())
        found = {
            "running": sum(count for job, count in held.items() if job not in preparing),
            "preparing": sum(count for job, count in held.items() if job in preparing),
            "idle": len(self._live_idle(compute)) if compute else 0,
        }
        return {state: count for state, count in found.items() if count}

    def _within_quota(self, compute: Document, new: int) -> bool:
        """Returns whether the quota allows this many new nodes of the cluster's size."""
        cluster = compute["properties"]["properties"]
        size = sizes.SIZES.get(str(cluster.get("vmSize")).lower())
        if not new or size is None:
            return True
        low = cluster.get("vmPriority") == "LowPriority"
        quotas = (sizes.LOW_PRIORITY,) if low else (size.quota, sizes.TOTAL)
        needed = new * size.cores
        return all(sizes.used(self._twin, each) + needed <= sizes.limit(self._twin, each) for each in quotas)

    def _live_idle(self, compute: Document) -> list[float]:
        """Returns the time at which each idle node is removed; infinite for nodes kept by the cluster's minimum."""
        name, now = key(compute["id"]), time.monotonic()
        idle = sorted(until for until in self._idle.get(name, []) if until > now)
        least = int(compute["properties"]["properties"]["scaleSettings"].get("minNodeCount") or 0)
        lacking = least - sum(self._held.get(name, {}).values()) - len(idle)
        return idle + [float("inf")] * max(0, lacking)
