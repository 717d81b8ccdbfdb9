"""What is looked up before a run starts: whether the account has room for its machines."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from contract.errors import KitError
from contract.run import Compute
from llmops.plan.quotas import QuotaNeed

if TYPE_CHECKING:
    from llmops.platforms.base import Platform, Say


@dataclass(frozen=True)
class Hire:
    """What a cloud says of a run's machines before they are asked for."""

    place: str
    """Region or location."""
    quotas: list[QuotaNeed]


def look_ahead(platform: "Platform", compute: Compute | None, say: "Say") -> None:
    """See that the account's quotas allow a run's machines.

    Args:
        platform: the stack in operation.
        compute: the run's machines; None: this one.
        say: told what could not be looked up.

    Raises:
        KitError: naming the quotas that are too small.
    """
    if compute and (hire := platform.hire(compute)):
        require_quotas(compute, hire, say)


def require_quotas(compute: Compute, hire: Hire, say: "Say") -> None:
    """See that quotas allow a run's machines; what is not known is said.

    Raises:
        KitError: naming quota, what there is, what is needed and the way out.
    """
    small = [quota for quota in hire.quotas if quota.enough is False]
    if small:
        fixes = dict.fromkeys(quota.fix for quota in small if quota.fix)
        raise KitError(
            "; ".join(replace(quota, needs="the run needs").words for quota in small),
            where=f"{compute.instances} x {compute.instance_type}{', spot' if compute.spot else ''} in {hire.place}",
            fix="; ".join([*fixes, "or take other machines: --instance-type, --instances, --spot or --no-spot"]),
        )
    unknown: dict[str, list[str]] = {}
    for quota in hire.quotas:
        if quota.enough is None:
            unknown.setdefault(quota.why, []).append(quota.name)
    for why, names in unknown.items():
        say(f"notice: quota not known: {', '.join(names)}: {why}")
