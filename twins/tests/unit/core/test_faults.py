"""Faults on request: their members, how often they happen, and what a wrong one is told."""

from typing import Any

import pytest

from llmops_twins.core.faults import FaultError, Faults, Kind, Member

CALLS = {"service": Member("pattern", "*"), "operation": Member("pattern")}
KINDS = {
    "throttle": Kind("calls are refused", {**CALLS, "times": Member("count", 1)}),
    "slow": Kind("calls are slow", {"operation": Member("pattern"), "seconds": Member("number")}),
}


@pytest.fixture
def state() -> dict[str, Any]:
    return {}


@pytest.fixture
def faults(state: dict[str, Any]) -> Faults:
    return Faults(KINDS, state, lambda: state.update(changed=state.get("changed", 0) + 1))


def test_a_fault_happens_to_what_its_patterns_match_as_often_as_it_says(faults: Faults) -> None:
    faults.add("throttle", {"operation": "List*", "times": "2"})
    assert faults.take("throttle", service="s3", operation="PutObject") is None
    assert faults.take("throttle", service="s3", operation="ListBuckets")
    assert faults.all() == {"throttle": [{"service": "*", "operation": "List*", "times": 1, "met": 1}]}
    assert faults.take("throttle", service="kms", operation="ListKeys")
    assert faults.take("throttle", service="kms", operation="ListKeys") is None
    assert faults.all() == {"throttle": []}


def test_a_fault_without_an_end_happens_until_faults_are_cleared(faults: Faults) -> None:
    faults.add("throttle", {"operation": "*", "times": 0})
    faults.add("slow", {"operation": "*", "seconds": 0.5})
    for _ in range(3):
        assert faults.take("throttle", operation="ListKeys")
        assert faults.take("slow", operation="ListKeys")
    found = faults.find("slow", operation="ListKeys")
    assert found
    assert (found["met"], found["seconds"]) == (3, 0.5)
    faults.clear()
    assert faults.find("slow", operation="ListKeys") is None


def test_what_changes_is_told_and_kept(faults: Faults, state: dict[str, Any]) -> None:
    assert faults.find("throttle", operation="x") is None
    assert state == {}
    faults.add("throttle", {"operation": "*"})
    faults.take("throttle", operation="x")
    assert state["changed"] == 2
    again = Faults(KINDS, {"faults": {"slow": [{"operation": "a", "seconds": 1, "met": 0}]}}, lambda: None)
    assert again.take("slow", operation="a")


@pytest.mark.parametrize(
    ("kind", "members", "told"),
    [
        ("trottle", {}, r"no fault 'trottle' \(did you mean throttle\?\); there are: throttle, slow"),
        ("", {}, "no fault ''; there are"),
        (["x"], {}, "no fault"),
        ("throttle", {"operaton": "x"}, r"no member 'operaton' \(did you mean operation\?\): the fault throttle has"),
        ("slow", {"operation": "x"}, r"seconds is missing: the fault slow has .*seconds \(a number, 0 or more\)"),
        ("slow", {"operation": "x", "seconds": "soon"}, "seconds: 'soon' is not a number, 0 or more"),
        ("slow", {"operation": "x", "seconds": -1}, "seconds: -1 is not a number"),
        ("slow", {"operation": "x", "seconds": "inf"}, "seconds: 'inf' is not a number"),
        ("throttle", {"operation": "x", "times": 1.5}, "times: 1.5 is not a whole number"),
        ("throttle", {"operation": "x", "times": True}, "times: True is not a whole number"),
        ("throttle", {"operation": ""}, "operation: '' is not a name"),
        ("throttle", {"operation": 3}, "operation: 3 is not a name, or a pattern of names such as"),
    ],
)
def test_a_fault_that_is_none_is_refused_with_what_there_is(
    faults: Faults, kind: Any, members: dict[str, Any], told: str
) -> None:
    with pytest.raises(FaultError, match=told):
        faults.add(kind, members)
    assert faults.all() == {}
