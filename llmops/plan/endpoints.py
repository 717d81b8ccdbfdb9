"""What a plan says of each endpoint, and what it asks of a cloud's own rules."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from llmops.plan.changes import Change
from policies.model import Resource

if TYPE_CHECKING:
    from llmops.plan.cost import CostLine
    from llmops.plan.prices import Prices
    from llmops.plan.quotas import Machines

UNKNOWN_TYPE = "unknown"
"""The instance type of an endpoint that is known only after `up`."""


@dataclass(frozen=True)
class EndpointPlan:
    """An endpoint as it will be."""

    name: str
    change: str  # create, update, none
    before: str  # version
    after: str
    instance_type: str
    instances: int
    most_instances: int
    least_instances: int
    strategy: str
    at_least_seconds: int
    during_update: int  # instances that run at the same time at most
    notes: list[str] = field(default_factory=list)


class Rules(Protocol):
    """A cloud's own part of a plan: a module of llmops.plan, named like the target."""

    def plan_endpoints(
        self,
        resources: Sequence[Resource],
        changes: Sequence[Change],
        entries: Mapping[str, Mapping[str, Any]],
        deployed: Mapping[str, str],
    ) -> list[EndpointPlan]:
        """Endpoints of the stack after `up`.

        Args:
            resources: as they will be.
            changes: of the preview.
            entries: `endpoints` of the stack file.
            deployed: endpoint -> version that was deployed last.
        """
        ...

    def run_machines(self, resources: Sequence[Resource], config: Mapping[str, Any]) -> "dict[Machines, int]":
        """What runs take at the same time at most, as the stack is set."""
        ...

    def resource_costs(self, resources: Sequence[Resource], prices: "Prices") -> "Iterator[CostLine]":
        """What costs beside instances of endpoints."""
        ...

    def warnings(self, resources: Sequence[Resource], config: Mapping[str, Any]) -> list[str]:
        """What is allowed, and seldom meant."""
        ...


def short(model: str) -> str:
    """`chatbot@3@sha256:…` -> `chatbot@3`."""
    return model.partition("@sha256")[0]
