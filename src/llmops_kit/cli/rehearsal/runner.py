"""Runs steps in order, with their dependencies, times, failures and injected faults."""

import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from llmops_kit.cli.rehearsal.fault_case import FaultCase
from llmops_kit.cli.rehearsal.steps import ENDED_WELL, Evidence, PermissionCheck, RehearsalStep, Result
from llmops_kit.core.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.cli.rehearsal.stage import Stage


_AGAIN_SECONDS, _PAUSE_SECONDS = 60.0, 0.5
"""Seconds for which a client retries a rejected step, and the pause between retries."""


class View(Protocol):
    """Interface of a display of the rehearsal's progress."""

    def begins(self, result: Result) -> None: ...

    def says(self, line: str) -> None: ...

    def ends(self, result: Result) -> None: ...


def run(
    steps: Sequence[RehearsalStep],
    stage: "Stage",
    view: View,
    faults: Mapping[str, FaultCase] | None = None,
    done: Mapping[str, Result] | None = None,
) -> list[Result]:
    """Runs steps until one fails.

    Args:
        steps: in their order.
        stage: the environment of the steps.
        view: shows their progress.
        faults: by the id of the step in which they are injected.
        done: results of steps that passed before, by id; they don't run again.

    Returns:
        A result for each step, in order; `not run` for those after the failure.

    Raises:
        KeyboardInterrupt: the user ended it; the caller cleans up.
    """
    results = [(done or {}).get(step.id) or Result(step) for step in steps]
    stage.results = results
    passed = set(done or {})
    for result in results:
        if result.step.id in passed:
            continue
        if any(need not in passed for need in result.step.needs if need in {s.id for s in steps}):
            continue
        if any(r.state in ("failed", "stopped") for r in results):
            continue
        try:
            _run_step(result, stage, view, (faults or {}).get(result.step.id))
        except (KeyboardInterrupt, SystemExit):
            if stage.world.over is None:
                raise
            # A limit was reached after the step had passed: the next one fails by it, and names it.
        if result.state in ENDED_WELL:
            passed.add(result.step.id)
    return results


def _run_step(result: Result, stage: "Stage", view: View, fault: FaultCase | None) -> None:
    result.state, result.began = "failed", stage.timeline.now()
    began = time.monotonic()
    stage.begin(result)
    view.begins(result)
    try:
        stage.world.check_limits()
        result.evidence = _with_fault(result, stage, fault) if fault else result.step.run(stage)
        result.state = "skipped" if result.evidence.skipped else "passed"
    except (KeyboardInterrupt, SystemExit):
        if stage.world.over is None:
            result.state = "stopped"
            raise
        result.error = stage.world.over
    except KitError as e:
        result.error = e
    except Exception as e:
        result.error = _own_error(e)
    finally:
        result.seconds = time.monotonic() - began
        result.accesses = stage.end(result)
        if result.error:
            result.error = _naming_denials(result.error, result.accesses)
        view.ends(result)


def _with_fault(result: Result, stage: "Stage", fault: FaultCase) -> Evidence:
    """Runs a step with a fault; raises KitError unless it ends as the table of faults says."""
    result.fault = fault.name
    members = {name: value(stage) if callable(value) else value for name, value in fault.members.items()}
    stage.world.fault(fault.name, members)
    stage.say(f"fault {fault.name}: {fault.does}")
    try:
        evidence, refusals = _tried(result.step, stage, fault)
    except KitError as e:
        if fault.end != "refused":
            raise
        return _after_refusal(e, result, stage, fault)
    if fault.end == "refused":
        raise KitError(
            f"the fault {fault.name} should have caused an error, but nothing was refused",
            where=f"step {result.step.id}",
            fix="see the step's commands in the report",
        )
    if not stage.world.fault_met(fault.name):
        raise KitError(
            f"the fault {fault.name} was never triggered",
            where=f"step {result.step.id}",
            fix="the step no longer triggers the fault: see src/llmops_kit/cli/rehearsal/clouds/",
        )
    meanwhile = f", after {refusals} refusal(s) meanwhile" if refusals else ""
    return _noting(evidence, f"fault {fault.name}: recovered{meanwhile}")


def _tried(step: RehearsalStep, stage: "Stage", fault: FaultCase) -> tuple[Evidence, int]:
    """Runs a step, and retries it while it is refused as expected; returns its evidence and the number of refusals."""
    deadline, refusals = time.monotonic() + _AGAIN_SECONDS, 0
    while True:
        try:
            return step.run(stage), refusals
        except KitError as e:
            expected = fault.meanwhile and fault.meanwhile.lower() in str(e).lower()
            if not expected or time.monotonic() > deadline:
                raise
            refusals += 1
            stage.say(f"refused meanwhile, tried again: {e.what}")
            time.sleep(_PAUSE_SECONDS)


def _after_refusal(error: KitError, result: Result, stage: "Stage", fault: FaultCase) -> Evidence:
    if fault.says.lower() not in str(error).lower():
        raise KitError(
            f"the fault {fault.name} should have been explained by {fault.says!r}, but was not",
            where=f"step {result.step.id}",
            fix=f"the step said: {error}",
        ) from error
    stage.world.clear_faults()
    stage.say(f"rejected as expected; the fix: {fault.fix}")
    evidence = result.step.run(stage)
    return _noting(evidence, f"fault {fault.name}: refused with {fault.says!r}; then {fault.fix}: recovered")


def _noting(evidence: Evidence, words: str) -> Evidence:
    return replace(evidence, said=(*evidence.said, words))


def _own_error(error: Exception) -> KitError:
    """Returns an unexpected error as a KitError with its place, so that the rehearsal cleans up."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return KitError(
        f"an error in the rehearsal itself: {type(error).__name__}: {error}",
        where=f"{place.filename}:{place.lineno}",
        fix="see the step's log",
    )


def _naming_denials(error: KitError, accesses: Iterable[PermissionCheck]) -> KitError:
    """Adds denials that an error does not name: some platforms only report `failed`."""
    denied = sorted({f"{a.role} may not {a.action} on {a.resource}" for a in accesses if not a.allowed})
    if not denied or all(words.split()[3] in str(error) for words in denied):
        return error
    return KitError(error.what + "\n  denied meanwhile: " + "; ".join(denied), where=error.where, fix=error.fix)
