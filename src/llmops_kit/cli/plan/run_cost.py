"""Estimates the cost of a run, and checks that the account's quotas allow its machines."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from llmops_kit.cli.interfaces.platform import Platform, Run, Say
from llmops_kit.cli.interfaces.quotas import Hire
from llmops_kit.core.documents.run import Compute
from llmops_kit.core.errors import KitError


@dataclass(frozen=True)
class RunCost:
    """Dollars of one attempt at a run; None if unknown, with the reason."""

    usd_an_hour: float | None
    likely_usd: float | None
    likely_from: str
    largest_usd: float | None
    largest_from: str
    source: str

    @property
    def words(self) -> str:
        """One line of text."""
        likely, largest = (dollars(usd) for usd in (self.likely_usd, self.largest_usd))
        return f"cost: likely {likely} ({self.likely_from}), at most {largest} ({self.largest_from}; {self.source})"

    def fields(self) -> dict[str, Any]:
        return asdict(self)


def look_ahead(platform: Platform, compute: Compute | None, recipe: str, say: Say, *, jobs: int = 1) -> RunCost | None:
    """Prints the expected cost of a run, and checks that the account's quotas allow its machines.

    Args:
        platform: the stack in operation.
        compute: the run's machines.
        recipe: its recipe's name.
        say: called with the cost, and with prices and quotas that could not be looked up.
        jobs: how many jobs the run has, one after the other.

    Returns:
        The cost; None if it runs on this machine.

    Raises:
        KitError: naming the quotas that are too small.
    """
    hire = platform.hire(compute) if compute else None
    if compute is None or hire is None:
        return None
    cost = run_cost(compute, hire, [run for run in platform.find(f"{recipe}-") if run.spec.recipe.name == recipe], jobs)
    say(cost.words)
    require_quotas(compute, hire, say)
    return cost


def run_cost(compute: Compute, hire: Hire, before: Sequence[Run], jobs: int = 1) -> RunCost:
    """Returns the cost of a run: the likely one from earlier runs on the same machines, and the maximum until it is
    stopped.
    """
    known = [run.state.usd for run in before if _is_alike(run, compute) and run.state.usd is not None]
    runs = "1 complete run" if len(known) == 1 else f"{len(known)} complete runs"
    hourly = hire.price.amount * compute.instances if hire.price else None
    hours = jobs * (compute.max_hours + hire.kept_minutes / 60)
    words = f"{compute.instances} x {compute.instance_type} for {hours:g} h"
    words += f" in {jobs} jobs" if jobs > 1 else ""
    return RunCost(
        usd_an_hour=hourly,
        likely_usd=median(known) if known else None,
        likely_from=f"median of {runs} of this recipe on such machines"
        if known
        else "no run of this recipe is complete on such machines",
        largest_usd=None if hourly is None else round(hourly * hours, 6),
        largest_from=words + (f", without {hire.not_counted}" if hire.not_counted else ""),
        source=f"{hire.price.source}, {hire.price.date}"
        if hire.price
        else "`llmops plan prices refresh` fetches prices",
    )


def require_quotas(compute: Compute, hire: Hire, say: Say) -> None:
    """Checks that quotas allow a run's machines; reports unknown ones.

    Raises:
        KitError: naming the quota, its value, the need and the fix.
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


def _is_alike(run: Run, compute: Compute) -> bool:
    """Returns whether a run's cost predicts that of the next one on these machines."""
    own = run.spec.compute
    if own is None or run.doubt or run.state.status != "completed":
        return False
    machines = (compute.instance_type.lower(), compute.instances, compute.spot)
    return (own.instance_type.lower(), own.instances, own.spot) == machines


def dollars(usd: float | None) -> str:
    """Returns an amount in words."""
    if usd is None:
        return "unknown"
    return f"${usd:.2f}" if usd >= 1 else f"${usd:.4f}"
