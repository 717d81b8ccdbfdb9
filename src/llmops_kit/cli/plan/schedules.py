"""The machines that a stack's scheduled runs need, compared with those configured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmops_kit.cli.plan.check import check_run
from llmops_kit.cli.plan.prices import Prices
from llmops_kit.cli.platforms.platform import Platform, Say
from llmops_kit.contract.documents.run import Compute
from llmops_kit.contract.errors import KitError


@dataclass(frozen=True)
class ScheduledTraining:
    """The part of a plan on a schedule."""

    schedule: str
    run: str
    machine: str
    fits: bool | None
    """None if unknown."""
    words: str


def check_schedules(
    config: Mapping[str, Any], platform: Platform | None, prices: Prices, say: Say
) -> list[ScheduledTraining]:
    """Checks whether each scheduled run fits its machines.

    Args:
        config: the cloud's part of the stack file, of which `jobs` and `schedules` are read.
        platform: the stack in operation, which knows the runs; None: it is not deployed.
        prices: of its region.
        say: called before slow steps.
    """
    found = []
    for name, schedule in (config.get("schedules") or {}).items():
        wanted = dict(config.get("jobs") or {})
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
    made = check_run(spec, platform, compute, prices, say)
    return compute.instance_type, made.problem is None, made.words
