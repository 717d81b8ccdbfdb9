"""A cloud's own part of a plan."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from llmops_kit.cli.interfaces.changes import ResourceChange
from llmops_kit.cli.interfaces.costs import CostLine
from llmops_kit.cli.interfaces.endpoint_plans import EndpointPlan
from llmops_kit.cli.interfaces.quotas import Machines
from llmops_kit.cli.machines.prices import Prices
from llmops_kit.policies.model import Resource
from llmops_kit.settings.resolved import ResolvedEndpoint, ResolvedStack


class PlanRules(Protocol):
    """A cloud's own part of a plan: a module of llmops_kit.cli.plan, named like the target."""

    def plan_endpoints(
        self,
        resources: Sequence[Resource],
        changes: Sequence[ResourceChange],
        endpoints: Mapping[str, ResolvedEndpoint],
        deployed: Mapping[str, str],
    ) -> list[EndpointPlan]:
        """Returns the endpoints of the stack after `up`.

        Args:
            resources: the resources after `up`.
            changes: the preview's changes.
            endpoints: of the stack file, as its settings come to; those of a program of the user's are missing.
            deployed: endpoint -> version that was deployed last.
        """
        ...

    def run_machines(self, resources: Sequence[Resource], stack: ResolvedStack) -> dict[Machines, int]:
        """Returns the maximum number of machines that runs use at the same time, by the stack's settings."""
        ...

    def resource_costs(self, resources: Sequence[Resource], prices: Prices) -> Iterator[CostLine]:
        """Yields the costs besides those of endpoints' instances."""
        ...

    def warnings(self, resources: Sequence[Resource], stack: ResolvedStack) -> list[str]:
        """Returns warnings about settings that are allowed, but seldom intended."""
        ...
