"""What a stack's scheduled runs take of machines, held against those that they are set to get."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contract.documents.run import Compute
from contract.errors import KitError
from llmops.plan.check import check_run
from llmops.plan.prices import Prices, is_azure
from llmops.platforms.platform import Platform, Say


@dataclass(frozen=True)
class ScheduledTraining:
    """What a plan says of a schedule."""

    schedule: str
    run: str
    machine: str
    fits: bool | None
    """None: not known."""
    words: str


def check_schedules(
    config: Mapping[str, Any], platform: Platform | None, prices: Prices, say: Say
) -> list[ScheduledTraining]:
    """Holds each scheduled run against its machines.

    Args:
        config: the cloud's part of the stack file: `jobs` and `schedules` count.
        platform: the stack in operation, which knows the runs; None: it is not deployed.
        prices: of its region.
        say: told what takes long.
    """
    found = []
    for name, schedule in (config.get("schedules") or {}).items():
        wanted = {**(config.get("jobs") or {})}
        if schedule.get("instance_type"):
            wanted["instance_type"] = schedule["instance_type"]
        try:
            machine, fits, words = _check(schedule["run"], wanted, platform, prices, say)
        except KitError as e:
            machine, fits, words = wanted.get("instance_type", ""), None, f"not checked: {e.what}"
        found.append(ScheduledTraining(name, schedule["run"], machine, fits, words))
    return found


def _check(
    run: str, wanted: Mapping[str, Any], platform: Platform | None, prices: Prices, say: Say
) -> tuple[str, bool | None, str]:
    if platform is None:
        raise KitError("the stack is not deployed")
    usual = platform.require_runs()
    compute = Compute.model_validate({**(usual.model_dump() if usual else {}), **wanted})
    spec = next((each.spec for each in platform.find(run) if each.spec.id == run), None)
    if spec is None:
        raise KitError(f"the stack has no run {run}")
    say(f"holding the scheduled run {run} against machines")
    made = check_run(spec, platform, compute, prices, is_azure(prices.region), say)
    return compute.instance_type, made.problem is None, made.words
