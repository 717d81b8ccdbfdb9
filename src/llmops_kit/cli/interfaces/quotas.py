"""The number of machines that a stack uses at once, by use and type, which an account's quotas must allow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from llmops_kit.cli.interfaces.endpoint_plans import UNKNOWN_TYPE, EndpointPlan
from llmops_kit.cli.machines.prices import Price
from llmops_kit.core.documents.run import Compute

Use = Literal["endpoint", "training job", "spot training job"]


class Machines(NamedTuple):
    """The unit of quotas: machines of a type, for one use."""

    use: Use
    instance_type: str


Needed = Mapping[Machines, int]
"""Maximum number of machines at the same time."""


@dataclass(frozen=True)
class QuotaNeed:
    """A quota of a cloud, the maximum need, and the account's value; None if unknown."""

    name: str
    code: str
    needed: int
    allowed: int | None
    why: str = ""  # why `allowed` is not known
    fix: str = ""  # how to raise it
    needs: str = "the update needs"  # the consumer, in words
    taken: int = 0  # what others than the stack use of it, where the cloud tells

    @property
    def enough(self) -> bool | None:
        """Whether the quota suffices; None if unknown."""
        return None if self.allowed is None else self.needed + self.taken <= self.allowed

    @property
    def words(self) -> str:
        """The quota, how much it allows and how much is needed, as a line of the plan."""
        allowed = "unknown" if self.allowed is None else self.allowed
        taken = f", and others use {self.taken}" if self.taken else ""
        code = self.code or "(code unknown)"
        return f"quota {code}: {self.name} allows {allowed}, {self.needs} {self.needed}{taken}"


@dataclass(frozen=True)
class Hire:
    """A cloud's information on a run's machines before they are requested."""

    place: str
    """Region or location."""
    quotas: list[QuotaNeed]
    price: Price | None
    """Price of one machine hour; None if unknown."""
    kept_minutes: int = 0
    """Maximum time that machines are kept, and paid for, after the run."""
    not_counted: str = ""
    """Additional costs, in words."""


def instances_needed(endpoints: Sequence[EndpointPlan]) -> dict[Machines, int]:
    """Returns the instances of endpoints at the same time: each one's maximum, including those added by an update.

    Endpoints are updated at the same time by one `up`, so all of them count.
    """
    needed: dict[Machines, int] = {}
    for endpoint in endpoints:
        machines = Machines("endpoint", endpoint.instance_type)
        most = max(endpoint.during_update, endpoint.most_instances)
        needed[machines] = needed.get(machines, 0) + most
    return {machines: n for machines, n in needed.items() if machines.instance_type != UNKNOWN_TYPE and n}


def machines_of(compute: Compute) -> Machines:
    """Returns the kind of machines by which a run counts against quotas."""
    return Machines("spot training job" if compute.spot else "training job", compute.instance_type)
