"""Order, needs, failures, faults and Ctrl-C of a rehearsal, without a twin."""

from dataclasses import replace

import pytest

from llmops_kit.cli.rehearsal import runner
from llmops_kit.cli.rehearsal.fault_case import FaultCase
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.rehearsal.steps import Evidence, PermissionCheck, Result, chosen
from llmops_kit.core.errors import KitError, NotFoundError
from tests.unit.cli.rehearsal.conftest import Rehearsed, step


def refuse(_: Stage) -> Evidence:
    raise KitError("there is no room", where="the disk", fix="make some")


def test_steps_run_in_order_and_leave_evidence(rehearsed: Rehearsed) -> None:
    results = rehearsed(step("one"), step("two", None, "one"))
    assert [(r.step.id, r.state, r.evidence.said) for r in results] == [
        ("one", "passed", ("one done",)),
        ("two", "passed", ("two done",)),
    ]
    assert rehearsed.view.told == ["begins one", "passed one", "begins two", "passed two"]
    assert results[1].began >= results[0].began


def test_what_a_recipe_can_not_show_is_skipped_and_the_next_step_runs(rehearsed: Rehearsed) -> None:
    one, two = rehearsed(step("one", lambda _: Evidence(skipped="no known answer")), step("two", None, "one"))
    assert [(one.state, one.evidence.skipped), (two.state, two.evidence.skipped)] == [
        ("skipped", "no known answer"),
        ("passed", ""),
    ]


def test_nothing_runs_after_a_failure(rehearsed: Rehearsed) -> None:
    results = rehearsed(step("one"), step("two", refuse), step("three"), step("four", None, "two"))
    assert [r.state for r in results] == ["passed", "failed", "not run", "not run"]
    assert str(results[1].error) == "the disk: there is no room\n  fix: make some"


def test_what_was_denied_is_named_even_where_the_refusal_lost_it(rehearsed: Rehearsed) -> None:
    rehearsed.world.recorded = [
        PermissionCheck("endpoint", "s3:GetObject", "arn:aws:s3:::store/models/1", False),
        PermissionCheck("deploy", "s3:ListBucket", "arn:aws:s3:::store", True),
    ]
    (result,) = rehearsed(step("one", refuse))
    assert result.error
    assert "endpoint may not s3:GetObject on arn:aws:s3:::store/models/1" in result.error.what
    assert "ListBucket" not in result.error.what
    assert result.accesses == rehearsed.world.recorded


def test_ctrl_c_ends_it_and_the_step_is_stopped(rehearsed: Rehearsed) -> None:
    def interrupt(_: Stage) -> Evidence:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearsed(step("one"), step("two", interrupt), step("three"))
    assert [r.state for r in rehearsed.stage.results] == ["passed", "stopped", "not run"]


def test_what_passed_before_is_not_run_again(rehearsed: Rehearsed) -> None:
    one, two = step("one", refuse), step("two", None, "one")
    before = Result(one, "passed")
    results = rehearsed(one, two, done={"one": before})
    assert results[0] is before
    assert [r.state for r in results] == ["passed", "passed"]
    assert rehearsed.view.told == ["begins two", "passed two"]


def test_a_limit_that_is_reached_meanwhile_is_what_the_step_failed_with(rehearsed: Rehearsed) -> None:
    def over(stage: Stage) -> Evidence:
        stage.world.over = KitError("its time is over", where="--ttl")
        raise KeyboardInterrupt

    results = rehearsed(step("one", over), step("two"))
    assert [r.state for r in results] == ["failed", "not run"]
    assert results[0].error is rehearsed.world.over


def test_a_limit_that_is_reached_once_a_step_has_passed_is_named_by_the_next(
    rehearsed: Rehearsed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def over(result: Result) -> None:
        if result.step.id == "one":
            rehearsed.world.over = KitError("its time is over", where="--ttl")
            raise KeyboardInterrupt

    def check_limits() -> None:
        if rehearsed.world.over:
            raise rehearsed.world.over

    monkeypatch.setattr(rehearsed.view, "ends", over)
    monkeypatch.setattr(rehearsed.world, "check_limits", check_limits)
    results = rehearsed(step("one"), step("two"), step("three"))
    assert [r.state for r in results] == ["passed", "failed", "not run"]
    assert results[1].error is rehearsed.world.over


def test_what_nobody_thought_of_ends_it_in_order(rehearsed: Rehearsed) -> None:
    def stumble(_: Stage) -> Evidence:
        raise IndexError("list index")

    (result, rest) = rehearsed(step("one", stumble), step("two"))
    assert (result.state, rest.state) == ("failed", "not run")
    assert result.error
    assert "IndexError: list index" in result.error.what
    assert "test_runner.py" in result.error.where


def test_only_takes_what_a_step_needs() -> None:
    steps = [step("one"), step("two"), step("three", None, "one"), step("four", None, "three")]
    assert [s.id for s in chosen(steps, ["four"])] == ["one", "three", "four"]
    assert [s.id for s in chosen(steps, ["two", "one"])] == ["one", "two"]
    assert [s.id for s in chosen(steps, [])] == ["one", "two", "three", "four"]
    with pytest.raises(NotFoundError) as refused:
        chosen(steps, ["five"])
    assert refused.value.where == "--only"


RECOVERED = FaultCase("slow", "one", "calls are slow", "recovered", {"times": 2})
REFUSED = FaultCase("capacity", "one", "there is no instance", "refused", {}, "no room", "ask later")


def test_a_fault_that_is_recovered_from(rehearsed: Rehearsed) -> None:
    (result,) = rehearsed(step("one"), faults={"one": RECOVERED})
    assert (result.state, result.fault) == ("passed", "slow")
    assert result.evidence.said == ("one done", "fault slow: recovered")
    assert rehearsed.world.faults == {"slow": {"times": 2}}


CRASHED = FaultCase("crash", "one", "its container is killed", "recovered", {}, meanwhile="No room")


def test_what_is_refused_meanwhile_is_tried_again_as_clients_do(
    rehearsed: Rehearsed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_PAUSE_SECONDS", 0.0)
    left = [refuse, refuse]

    def thrice(stage: Stage) -> Evidence:
        return left.pop()(stage) if left else Evidence(("done",))

    (result,) = rehearsed(step("one", thrice), faults={"one": CRASHED})
    assert result.evidence.said == ("done", "fault crash: recovered, after 2 refusal(s) meanwhile")


@pytest.mark.parametrize("patient", [True, False])
def test_what_is_refused_for_another_reason_or_for_long_is_a_failure(
    rehearsed: Rehearsed, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    monkeypatch.setattr(runner, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(runner, "_AGAIN_SECONDS", 60.0 if patient else 0.0)
    case = replace(CRASHED, meanwhile="no chair") if patient else CRASHED
    (result,) = rehearsed(step("one", refuse), faults={"one": case})
    assert result.state == "failed"


def test_a_fault_that_meets_nothing_is_a_failure(rehearsed: Rehearsed) -> None:
    rehearsed.world.met = False
    (result,) = rehearsed(step("one"), faults={"one": RECOVERED})
    assert result.error
    assert "the fault slow was never triggered" in result.error.what


def test_a_fault_that_is_refused_ends_by_its_way_out(rehearsed: Rehearsed) -> None:
    def once(stage: Stage) -> Evidence:
        return refuse(stage) if rehearsed.world.faults else Evidence(("done",))

    results = rehearsed(step("one", once), step("two"), faults={"one": REFUSED})
    assert [r.state for r in results] == ["passed", "passed"]
    assert "refused with 'no room'; then ask later: recovered" in results[0].evidence.said[-1]


@pytest.mark.parametrize("says", ["something else", ""])
def test_a_fault_that_ends_otherwise_than_said_is_a_failure(rehearsed: Rehearsed, says: str) -> None:
    other = FaultCase("capacity", "one", "there is no instance", "refused", {}, "quota", "ask later")
    (result,) = rehearsed(step("one", refuse if says else None), faults={"one": other})
    assert result.error
    assert ("should have been explained by 'quota'" if says else "nothing was refused") in result.error.what


def test_a_fault_meets_its_own_step_alone(rehearsed: Rehearsed) -> None:
    results = rehearsed(step("zero"), step("one"), faults={"one": RECOVERED})
    assert [r.fault for r in results] == ["", "slow"]
