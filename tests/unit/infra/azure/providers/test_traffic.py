"""Traffic of an endpoint: rollouts in steps, watched and rolled back."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llmops_kit.core.errors import KitError
from llmops_kit.core.rollout import OWNER_TAG, Owner, Step
from llmops_kit.infra.targets.azure import online
from llmops_kit.infra.targets.azure.providers import traffic
from llmops_kit.infra.targets.dynamic import Properties
from tests.unit.infra.azure.arm import ENDPOINT, PLACE, Container, InProcessArm

OLD, NEW = "1" * 64, "2" * 64
SERVES_OLD = {"environmentVariables": {"LLMOPS_MODEL_NAME": "chatbot@1", "LLMOPS_MODEL_SHA256": OLD}}


def moved(**other: Any) -> Properties:
    # As they come: the engine makes floats of all numbers.
    rollout = {"strategy": "canary", "canary_percent": 10.0, "step_percent": 25.0, "mirror_percent": 0.0}
    rollout |= {"bake_seconds": 0.0, "extra_bakes": 2.0, "on_inconclusive": "promote"}
    return {
        **PLACE,
        "endpoint": ENDPOINT,
        "deployment": "new",
        "share": 100,
        "model": "chatbot@2",
        "sha256": NEW,
        "rollout": rollout | other.pop("rollout", {}),
        "limits": {"error_rate": 0.05, "latency_seconds": 20.0, "quality": 1.0},
        "store": "https://store",
        "setting": "llmops:endpoints.chat.model",
        **other,
    }


TRAFFIC = traffic.TrafficProvider()


def test_the_first_deployment_gets_everything_at_once(arm: InProcessArm) -> None:
    arm.endpoint()
    arm.deploy("new")
    TRAFFIC.create(moved())
    assert arm.traffic == [{"new": 100}]
    assert not TRAFFIC.diff("", moved(), moved()).changes


@pytest.mark.parametrize(
    ("rollout", "steps"),
    [
        ({"strategy": "all_at_once"}, [{"new": 100}]),
        ({"strategy": "canary"}, [{"old": 90, "new": 10}, {"new": 100}]),
        ({"strategy": "linear", "step_percent": 50.0}, [{"old": 50, "new": 50}, {"new": 100}]),
    ],
)
def test_a_rollout_goes_in_steps_and_ends_without_an_owner(arm: InProcessArm, rollout: Any, steps: Any) -> None:
    arm.endpoint({"old": 100})
    arm.deploy("old")
    arm.deploy("new")
    assert TRAFFIC.diff("", moved(deployment="old"), moved(rollout=rollout)).changes
    TRAFFIC.update("", moved(deployment="old"), moved(rollout=rollout))
    assert all(isinstance(share, int) for each in arm.traffic for share in each.values())
    assert arm.traffic == [*steps, {"new": 100}]  # the last time: nobody owns it any more
    assert OWNER_TAG not in arm.tags


def test_copies_come_before_requests(arm: InProcessArm) -> None:
    arm.endpoint({"old": 100})
    arm.deploy("old")
    arm.deploy("new")
    TRAFFIC.update("", moved(deployment="old"), moved(rollout={"mirror_percent": 20.0}))
    assert arm.traffic == [{"old": 100}, {"old": 90, "new": 10}, {"new": 100}, {"new": 100}]
    assert arm.mirrors == [{"new": 20}, {}, {}, {}]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (
            {"says": {"new": {("424", "500"): 5, ("200", "200"): 5}, "old": {("200", "200"): 90}}},
            r"5 of its 10 requests failed \(0 of 90 of the old version's\)",
        ),
        ({"says": {"new": {("408", ""): 3}, "old": {("200", "200"): 27}}}, "3 of its 3 requests"),
        (  # the errors are the eleventh series
            {
                "says": {
                    "new": {**{("424", str(410 + n)): 5 for n in range(10)}, ("424", "500"): 50},
                    "old": {("200", "200"): 900},
                }
            },
            "50 of its 100 requests",
        ),
        ({"latency_ms": {"new": 25_000.0}}, "takes 25.0 s or longer"),
        ({"logs": {"new": 'at 1 {"event": "quality", "score": 0.5}\nready\n'}}, "answers 50% of its golden prompts"),
    ],
)
def test_a_version_that_does_worse_is_taken_back_and_remembered(
    arm: InProcessArm, store: Container, bad: dict[str, Any], said: str
) -> None:
    arm.endpoint({"old": 100})
    arm.deploy("old", **SERVES_OLD)
    arm.deploy("new")
    for name, value in bad.items():
        setattr(arm, name, value)
    with pytest.raises(KitError, match=said) as caught:
        TRAFFIC.update("", moved(deployment="old"), moved())
    assert arm.traffic == [{"old": 90, "new": 10}, {"old": 100}]
    assert OWNER_TAG not in arm.tags
    line = f"llmops:endpoints.chat.model: chatbot@1@sha256:{OLD}"
    assert f"go back with `{line}`" in caught.value.fix
    (entry,) = store.blobs.values()
    assert json.loads(entry) | {"when": ""} == {
        "action": "rejected",
        "why": json.loads(entry)["why"],
        "when": "",
        "endpoint": "chat",
        "instead": line,
    }
    assert list(store.blobs) == [f"rejections/{NEW}/000001.json"]


@pytest.mark.parametrize(
    "good",
    [
        {"says": {"new": {("424", "400"): 5, ("429", ""): 5, ("200", "200"): 90}}},  # callers' own mistakes
        {"says": {"new": {("424", "500"): 9, ("200", "200"): 91}, "old": {("424", "500"): 9, ("200", "200"): 91}}},
        {"latency_ms": {"new": 25_000.0, "old": 30_000.0}},
        {"logs": {"new": '{"event": "quality", "score": 0.5}\n{"event": "quality", "score": 1.0}\n{"broken'}},
    ],
)
def test_a_version_that_does_no_worse_takes_over(arm: InProcessArm, good: dict[str, Any]) -> None:
    arm.endpoint({"old": 100})
    arm.deploy("old")
    arm.deploy("new")
    for name, value in good.items():
        setattr(arm, name, value)
    TRAFFIC.update("", moved(deployment="old"), moved())
    assert arm.weights == {"new": 100}


LITTLE: dict[str, Any] = {"new": {("424", "500"): 1, ("200", "200"): 4}, "old": {("200", "200"): 45}}


def test_little_evidence_is_waited_for_and_then_promoted_with_a_warning(
    arm: InProcessArm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arm.endpoint({"old": 100})
    arm.deploy("old")
    arm.deploy("new")
    arm.says = LITTLE
    monkeypatch.setattr(traffic, "_plan", lambda _: (Step(10, 0.01), Step(100, 0.0)))
    TRAFFIC.update("", moved(deployment="old"), moved())
    assert arm.weights == {"new": 100}
    said = "".join(capsys.readouterr())
    assert (
        said.count("not enough evidence: 1 of its 5 requests failed (0 of 45 of the old version's); watched for up to")
        == 2
    )
    assert said.count("warning: not enough evidence: ") == 1


def test_little_evidence_rolls_back_if_asked_to_and_rejects_nothing(arm: InProcessArm, store: Container) -> None:
    arm.endpoint({"old": 100})
    arm.deploy("old", **SERVES_OLD)
    arm.deploy("new")
    arm.says = LITTLE
    cautious = {"on_inconclusive": "roll_back", "extra_bakes": 0.0}
    with pytest.raises(KitError, match="not enough evidence: the rollout of new was rolled back: 1 of its 5") as caught:
        TRAFFIC.update("", moved(deployment="old"), moved(rollout=cautious))
    assert "`canary_percent`" in caught.value.fix
    assert arm.weights == {"old": 100}
    assert not store.blobs


def test_the_weights_are_owned_for_all_bakes_that_may_come(arm: InProcessArm, monkeypatch: pytest.MonkeyPatch) -> None:
    owners = list[Owner]()
    monkeypatch.setattr(traffic, "put_traffic", lambda _props, _shares, owner, _mirror: owners.append(owner))
    started = datetime.now(UTC)
    plan = (Step(10, 600.0), Step(100, 600.0))
    rollout = traffic._WatchedTraffic(moved(), {"old": 100}, "new", plan, 3)
    for step in plan:
        rollout.shift(step)
    minutes = [(owner.until - started).total_seconds() // 60 for owner in owners]
    assert minutes == [45, 15]  # with five for moving the weights


@pytest.mark.parametrize(
    ("old", "refused"),
    [
        ({("200", "200"): 100}, "9 of its 10 requests failed (0 of 100 of the old version's)"),
        ({}, "9 of its 10 requests failed"),  # nobody asked the old one: the limit alone counts
        ({("424", "500"): 90, ("200", "200"): 10}, ""),
    ],
)
def test_all_at_once_is_compared_with_the_hour_before(
    arm: InProcessArm, store: Container, old: Any, refused: str
) -> None:
    arm.endpoint({"old": 100})
    arm.deploy("old", **SERVES_OLD)
    arm.deploy("new")
    arm.says = {"new": {("424", "500"): 9, ("200", "200"): 1}, "old": old}
    rollout = {"strategy": "all_at_once"}
    if refused:
        with pytest.raises(KitError) as caught:
            TRAFFIC.update("", moved(deployment="old"), moved(rollout=rollout))
        assert f"rolled back: {refused}; old serves as before" in caught.value.what
    else:
        TRAFFIC.update("", moved(deployment="old"), moved(rollout=rollout))
    assert arm.weights == ({"old": 100} if refused else {"new": 100})
    begins = {name: datetime.fromisoformat(arm.periods[name]) for name in ("old", "new")}
    assert begins["new"] - begins["old"] == timedelta(hours=1)


def test_other_settings_of_the_same_version_reject_nothing(arm: InProcessArm, store: Container) -> None:
    arm.endpoint({"old": 100})
    arm.deploy("old", environmentVariables={"LLMOPS_MODEL_NAME": "chatbot@2", "LLMOPS_MODEL_SHA256": NEW})
    arm.deploy("new")
    arm.latency_ms = {"new": 25_000.0}
    with pytest.raises(KitError, match="rolled back") as caught:
        TRAFFIC.update("", moved(deployment="old"), moved())
    assert "revert the changed setting" in caught.value.fix
    assert not store.blobs


def test_a_rollout_that_nobody_can_watch_is_taken_back(arm: InProcessArm, monkeypatch: pytest.MonkeyPatch) -> None:
    arm.endpoint({"old": 100})
    arm.deploy("old")
    arm.deploy("new")

    def refused(*_: Any) -> Any:
        raise KitError("Azure refused: AuthorizationFailed")

    monkeypatch.setattr(traffic, "counts", refused)
    with pytest.raises(KitError, match="AuthorizationFailed"):
        TRAFFIC.update("", moved(deployment="old"), moved())
    assert arm.weights == {"old": 100}


@pytest.mark.parametrize("state", ["Failed", "gone"])
def test_a_deployment_that_fails_while_it_is_watched_is_taken_back_and_rejects_nothing(
    arm: InProcessArm, store: Container, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Lack of capacity does that too: nothing was found out about the version."""
    arm.endpoint({"old": 100})
    arm.deploy("old", **SERVES_OLD)
    arm.deploy("new")

    def moves_and_fails(*asked: Any) -> None:
        put(*asked)
        if state == "gone":
            arm.documents.pop(f"{ENDPOINT}/deployments/new", None)
        else:
            arm.deploy("new", state=state)

    put = traffic.put_traffic
    monkeypatch.setattr(traffic, "put_traffic", moves_and_fails)
    with pytest.raises(KitError, match=f"its deployment new is {state}; old serves as before"):
        TRAFFIC.update("", moved(deployment="old"), moved())
    assert arm.weights == {"old": 100}
    assert not store.blobs


def test_a_deployment_that_failed_gets_no_requests(arm: InProcessArm) -> None:
    arm.endpoint({"old": 100})
    arm.deploy("old")
    arm.deploy("new", state="Failed")
    with pytest.raises(KitError, match="its deployment new is Failed"):
        TRAFFIC.update("", moved(deployment="old"), moved())
    assert not arm.traffic


def test_traffic_that_a_put_took_away_is_a_change_and_comes_back(arm: InProcessArm) -> None:
    arm.endpoint()
    arm.deploy("new")
    assert TRAFFIC.diff("", moved(), moved()).changes
    TRAFFIC.update("", moved(), moved())
    assert arm.weights == {"new": 100}
    found = TRAFFIC.read(ENDPOINT, moved()).outs
    assert found
    assert found["share"] == 100


def test_refresh_shows_weights_that_somebody_moved(arm: InProcessArm) -> None:
    arm.endpoint({"old": 60, "new": 40})
    found = TRAFFIC.read(ENDPOINT, moved()).outs
    assert found
    assert found["share"] == 40
    arm.documents.clear()
    assert TRAFFIC.read(ENDPOINT, moved()).id == ""


def test_an_update_that_was_cut_off_is_gone_on_with(arm: InProcessArm) -> None:
    owner = Owner("new", online.BY_UP, datetime.now(UTC) + timedelta(hours=1))
    arm.endpoint({"old": 90, "new": 10}, **{OWNER_TAG: str(owner)})
    arm.deploy("old")
    arm.deploy("new")
    assert TRAFFIC.diff("", moved(), moved()).changes
    TRAFFIC.update("", moved(), moved())
    assert arm.weights == {"new": 100}
    assert OWNER_TAG not in arm.tags


def test_a_rollout_of_somebody_else_is_waited_for_and_then_refused(
    arm: InProcessArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner("blue", "llmops", datetime.now(UTC) + timedelta(hours=1))
    arm.endpoint({"new": 100}, **{OWNER_TAG: str(owner)})
    arm.deploy("new")
    monkeypatch.setattr(online, "_WAIT_SECONDS", 0.0)
    with pytest.raises(KitError, match="llmops is rolling out blue until"):
        TRAFFIC.update("", moved(), moved())
    assert not arm.traffic


def test_deletion_takes_the_traffic_away_first(arm: InProcessArm) -> None:
    arm.endpoint({"new": 100})
    arm.deploy("new")
    TRAFFIC.delete(ENDPOINT, moved())
    assert arm.weights == {}
    arm.documents.clear()
    TRAFFIC.delete(ENDPOINT, moved())


@pytest.mark.parametrize("percent", range(0, 101, 7))
def test_shares_are_whole_and_make_a_hundred(percent: int) -> None:
    found = traffic.shares({"a": 33, "b": 33, "c": 34}, "new", percent)
    assert sum(found.values()) == 100
    assert found.get("new", 0) == percent
    assert max(found.get(name, 0) for name in "abc") - min(found.get(name, 0) for name in "abc") <= 1
