"""How many instances an update takes at once, by instance type: what an account's quotas must allow."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmops.plan.endpoints import UNKNOWN_TYPE, EndpointPlan


@dataclass(frozen=True)
class QuotaNeed:
    """A quota of a cloud, what the stack needs of it at most, and what the account has; None: not known."""

    name: str
    code: str
    needed: int
    allowed: int | None

    @property
    def enough(self) -> bool | None:
        """Whether it will do; None: not known."""
        return None if self.allowed is None else self.needed <= self.allowed


def instances_needed(endpoints: Sequence[EndpointPlan]) -> dict[str, int]:
    """Instance type -> instances at the same time: each endpoint's most, and one update's additional ones.

    Endpoints are updated at the same time by one `up`, so all of them count.
    """
    needed: dict[str, int] = {}
    for endpoint in endpoints:
        most = max(endpoint.during_update, endpoint.most_instances)
        needed[endpoint.instance_type] = needed.get(endpoint.instance_type, 0) + most
    return {t: n for t, n in needed.items() if t != UNKNOWN_TYPE and n}
