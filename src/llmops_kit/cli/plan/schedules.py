"""Checks whether scheduled runs fit the configured machines."""

from collections.abc import Mapping
from dataclasses import dataclass

from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.cli.machines.prices import Prices
from llmops_kit.cli.plan.check import check_run
from llmops_kit.core.errors import KitError
from llmops_kit.settings.resolved import ResolvedSchedule


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
    schedules: Mapping[str, ResolvedSchedule], platform: Platform | None, prices: Prices, say: Say
) -> list[ScheduledTraining]:
    """Checks whether each scheduled run fits its machines.

    Args:
        schedules: of the stack, by name.
        platform: the stack in operation, which knows the runs; None: it is not deployed.
        prices: of its region.
        say: called before slow steps.
    """
    found = []
    for name, schedule in schedules.items():
        try:
            fits, words = _check(schedule, platform, prices, say)
        except KitError as e:
            fits, words = None, f"not checked: {e.what}"
        found.append(ScheduledTraining(name, schedule.run, schedule.compute.instance_type, fits, words))
    return found


def _check(schedule: ResolvedSchedule, platform: Platform | None, prices: Prices, say: Say) -> tuple[bool | None, str]:
    if platform is None:
        raise KitError("the stack is not deployed")
    platform.require_runs()
    run = schedule.run
    spec = next((each.spec for each in platform.find(run) if each.spec.id == run), None)
    if spec is None:
        raise KitError(f"the stack has no run {run}")
    say(f"holding the scheduled run {run} against machines")
    made = check_run(spec, platform, schedule.compute, prices, say)
    return made.problem is None, made.words
