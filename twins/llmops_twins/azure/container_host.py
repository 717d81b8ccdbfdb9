"""The interface between Azure ML's documents and their runner, which reports back through `reports`."""

from collections.abc import Mapping
from typing import Protocol

from llmops_twins.azure.protocol.calls import Document


class Running(Protocol):
    """Runs deployments and jobs. Every method is called with the twin's lock held, and returns at once.

    A runner tells the outcome by `reports.deployment_settled` and `reports.job_moved`, with the lock held as well.
    """

    def deployment_wanted(self, document: Document) -> None:
        """Starts or changes a deployment's containers to match its document (image, model, environment variables,
        probes, request settings, `sku.capacity` instances), then reports by `deployment_settled`. Called after each
        PUT, and after a restart with a deployment that was not settled.
        """
        ...

    def deployment_gone(self, deployment_id: str) -> None:
        """Stops what runs for a deleted deployment."""
        ...

    def endpoint_changed(self, document: Document) -> None:
        """Applies an endpoint's document after a PUT: its traffic, mirror, keys or authentication may have changed."""
        ...

    def endpoint_gone(self, endpoint_id: str) -> None:
        """Stops what runs for a deleted endpoint, whose deployments were deleted before."""
        ...

    def job_started(self, document: Document) -> None:
        """Queues and runs a new job in status NotStarted, reporting its progress by `job_moved`."""
        ...

    def job_cancelled(self, job_id: str) -> None:
        """Stops a job in status CancelRequested, then reports `job_moved(..., "Canceled")`."""
        ...

    def deployment_logs(self, deployment_id: str, container: str, tail: int) -> str:
        """Returns the last `tail` lines of a deployment's "InferenceServer" or "StorageInitializer"."""
        ...

    def scoring_url(self, endpoint_id: str) -> str:
        """Returns the base URL (https://localhost:PORT) of the endpoint's own host, which never changes."""
        ...

    def node_states(self, compute_id: str) -> Mapping[str, int]:
        """Returns the number of a cluster's nodes that are idle, running, preparing, unusable, leaving and preempted,
        by state.
        """
        ...
