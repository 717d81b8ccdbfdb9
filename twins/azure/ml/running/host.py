"""The interface between Azure ML's documents and their runner, which reports back through `reports`."""

from collections.abc import Mapping
from typing import Protocol

from twins.azure.arm.calls import Document


class Running(Protocol):
    """Runs deployments and jobs. Every method is called with the twin's lock held, and returns at once.

    A runner tells the outcome by `reports.deployment_settled` and `reports.job_moved`, with the lock held as well.
    """

    def deployment_wanted(self, document: Document) -> None:
        """A deployment was put: bring what runs to its document (image, model, environment variables, probes, request
        settings, `sku.capacity` instances), then say so by `deployment_settled`. Called again after each update, and
        when the process comes back with a deployment that was not settled.
        """
        ...

    def deployment_gone(self, deployment_id: str) -> None:
        """A deployment was deleted: stop what runs for it."""
        ...

    def endpoint_changed(self, document: Document) -> None:
        """An endpoint was put: its traffic, mirror, keys or authentication may have changed."""
        ...

    def endpoint_gone(self, endpoint_id: str) -> None:
        """An endpoint was deleted; its deployments were, before it."""
        ...

    def job_started(self, document: Document) -> None:
        """A job was put and is NotStarted: queue and run it, moving it by `job_moved`."""
        ...

    def job_cancelled(self, job_id: str) -> None:
        """A job is CancelRequested: stop it, then `job_moved(..., "Canceled")`."""
        ...

    def deployment_logs(self, deployment_id: str, container: str, tail: int) -> str:
        """Returns the last `tail` lines of a deployment's "InferenceServer" or "StorageInitializer"."""
        ...

    def scoring_url(self, endpoint_id: str) -> str:
        """Returns the base URL (https://localhost:PORT) of the endpoint's own host; an endpoint keeps it for life."""
        ...

    def node_states(self, compute_id: str) -> Mapping[str, int]:
        """Returns the number of a cluster's nodes that are idle, running, preparing, unusable, leaving and preempted,
        by these names.
        """
        ...
