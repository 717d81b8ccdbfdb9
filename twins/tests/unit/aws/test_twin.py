"""What services plug into: timers that survive a restart, ticks that don't stop each other, faults, settings."""

import json
import threading
from pathlib import Path

from llmops_twins.aws.calls import ApiCall
from llmops_twins.aws.twin import AccountTwin, TwinSettings


def call(operation: str = "ListModels") -> ApiCall:
    return ApiCall("sagemaker", operation, {}, "", "us-east-1", "")


def test_a_timer_survives_a_restart(tmp_path: Path) -> None:
    first = AccountTwin(tmp_path)
    first.later(0, "ring", "a", 1)
    kept = json.loads(json.dumps(first.state))
    second = AccountTwin(tmp_path)
    second.state.update(kept)
    rung = threading.Event()
    second.action_named("ring", lambda name, number: rung.set() if (name, number) == ("a", 1) else None)
    second.start()
    try:
        assert rung.wait(60)
    finally:
        second.close()
    assert second.state["timers"] == []
    assert second.dirty.is_set()


def test_a_tick_that_fails_stops_no_other(tmp_path: Path) -> None:
    twin, ticked = AccountTwin(tmp_path), threading.Semaphore(0)

    def fail() -> None:
        raise RuntimeError("broken")

    twin.every(0.01, fail)
    twin.every(0.01, lambda: ticked.release() if twin.lock.acquire(blocking=False) else None)
    twin.start()
    try:
        assert all(ticked.acquire(timeout=60) for _ in range(3))
    finally:
        twin.close()


def test_times_of_the_platform_shrink_with_the_pace(tmp_path: Path) -> None:
    twin = AccountTwin(tmp_path, TwinSettings(pace=3))
    assert twin.scaled(600) == 6
    twin.set_settings(pace=0)
    assert twin.scaled(600) == 0


def test_what_a_call_needed_is_recorded_once(tmp_path: Path) -> None:
    twin = AccountTwin(tmp_path)
    for _ in range(2):
        twin.record("root", "s3:GetObject", "*", True)
    twin.record("root", "s3:GetObject", "*", False)
    assert twin.state["recorded"] == [["root", "s3:GetObject", "*", True], ["root", "s3:GetObject", "*", False]]


def test_roles_are_judged_only_where_there_is_a_judge(tmp_path: Path) -> None:
    twin = AccountTwin(tmp_path)
    assert twin.may("role", "s3:GetObject", "*") is None
    twin.judge_of_roles = lambda *_args, **_more: "denied"
    assert twin.may("role", "s3:GetObject", "*") == "denied"
    twin.set_settings(judge="off")
    assert twin.may("role", "s3:GetObject", "*") is None
