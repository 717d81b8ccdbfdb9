"""How many machines a stack takes at once, by use and type: what an account's quotas must allow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from contract.documents.run import Compute
from llmops.plan.endpoints import UNKNOWN_TYPE, EndpointPlan
from llmops.plan.prices import Price

Use = Literal["endpoint", "training job", "spot training job"]


class Machines(NamedTuple):
    """What quotas count: machines of a type, for one use."""

    use: Use
    instance_type: str


Needed = Mapping[Machines, int]
"""Machines at the same time, at most."""


@dataclass(frozen=True)
class QuotaNeed:
    """A quota of a cloud, what is needed of it at most, and what the account has; None: not known."""

    name: str
    code: str
    needed: int
    allowed: int | None
    why: str = ""  # why `allowed` is not known
    fix: str = ""  # what gets more of it
    needs: str = "the update needs"  # who takes it, in words

    @property
    def enough(self) -> bool | None:
        """Whether it will do; None: not known."""
        return None if self.allowed is None else self.needed <= self.allowed

    @property
    def words(self) -> str:
        """The quota, what is there and what is needed."""
        allowed = "unknown" if self.allowed is None else self.allowed
        return f"quota {self.code or '(code unknown)'}: {self.name} allows {allowed}, {self.needs} {self.needed}"


@dataclass(frozen=True)
class Hire:
    """What a cloud says of a run's machines before they are asked for."""

    place: str
    """Region or location."""
    quotas: list[QuotaNeed]
    price: Price | None
    """Of one machine an hour; None: not known."""
    kept_minutes: int = 0
    """How long machines are kept, and paid for, after the run at most."""
    not_counted: str = ""
    """What is paid for besides, in words."""


def instances_needed(endpoints: Sequence[EndpointPlan]) -> dict[Machines, int]:
    """Of endpoints, at the same time: each one's most, and one update's additional ones.

    Endpoints are updated at the same time by one `up`, so all of them count.
    """
    needed: dict[Machines, int] = {}
    for endpoint in endpoints:
        machines = Machines("endpoint", endpoint.instance_type)
        most = max(endpoint.during_update, endpoint.most_instances)
        needed[machines] = needed.get(machines, 0) + most
    return {machines: n for machines, n in needed.items() if machines.instance_type != UNKNOWN_TYPE and n}


def machines_of(compute: Compute) -> Machines:
    """What a run's machines count as."""
    return Machines("spot training job" if compute.spot else "training job", compute.instance_type)
