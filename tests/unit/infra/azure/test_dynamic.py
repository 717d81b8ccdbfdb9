"""The dynamic resources around an endpoint: what they read, move, refuse and write."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import dill
import pytest
from azure.core.exceptions import HttpResponseError

from clouds.azure.arm import ResourceManager
from clouds.azure.errors import explained
from contract.errors import KitError
from contract.rollout import OWNER_TAG, Owner
from infra.targets.azure import (
    access,
    account,
    asset,
    budget,
    cluster_removal,
    live,
    online,
    preparation,
    scheduled_spec,
    traffic,
)
from infra.targets.dynamic import KitProvider, Properties
from tests.unit.infra.azure.arm import ENDPOINT, PLACE, WORKSPACE, Container, InProcessArm, patch_session

OLD, NEW = "1" * 64, "2" * 64
PROVIDERS = [
    asset.AssetProvider,
    budget.BudgetProvider,
    cluster_removal.ClusterRemovalProvider,
    access.AccessProvider,
    account.AccountProvider,
    preparation.PreparationProvider,
    traffic.TrafficProvider,
    live.LiveProvider,
    scheduled_spec.ScheduledSpecProvider,
]
SERVES_OLD = {"environmentVariables": {"LLMOPS_MODEL_NAME": "chatbot@1", "LLMOPS_MODEL_SHA256": OLD}}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Container:
    container = Container()
    for module in (traffic, scheduled_spec):
        monkeypatch.setattr(module, "AzureContainer", lambda _session, _url: container)
    return container


@pytest.fixture(autouse=True)
def arm(monkeypatch: pytest.MonkeyPatch) -> InProcessArm:
    found = InProcessArm()
    patch_session(monkeypatch, found)
    monkeypatch.setattr(online, "_POLL_SECONDS", (0.01, 0.01))
    return found


def moved(**other: Any) -> Properties:
    # As they come: the engine makes floats of all numbers.
    rollout = {"strategy": "canary", "canary_percent": 10.0, "step_percent": 25.0, "mirror_percent": 0.0}
    rollout["bake_seconds"] = 0.0
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
            {"says": {"new": {("424", "500"): 3, ("200", "200"): 7}, "old": {("200", "200"): 90}}},
            "3 of its 10 requests",
        ),
        ({"says": {"new": {("408", ""): 3}}}, "3 of its 3 requests"),
        (  # the errors are the eleventh series
            {"says": {"new": {**{("424", str(410 + n)): 5 for n in range(10)}, ("424", "500"): 50}}},
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


def test_other_settings_of_the_same_version_reject_nothing(arm: InProcessArm, store: Container) -> None:
    arm.endpoint({"old": 100})
    arm.deploy("old", environmentVariables={"LLMOPS_MODEL_NAME": "chatbot@2", "LLMOPS_MODEL_SHA256": NEW})
    arm.deploy("new")
    arm.latency_ms = {"new": 25_000.0}
    with pytest.raises(KitError, match="rolled back") as caught:
        TRAFFIC.update("", moved(deployment="old"), moved())
    assert "take the setting that was changed back" in caught.value.fix
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


PREPARATION = preparation.PreparationProvider()
SCALING = f"{WORKSPACE}/providers/Microsoft.Insights/autoscaleSettings/load"


def prepared(**other: Any) -> Properties:
    return {
        **PLACE,
        "endpoint": ENDPOINT,
        "deployment": "new",
        "scaling": SCALING,
        "content": "c1",
        "settings": "s1",
        "instances": 1,
        "max_instances": 0,
        **other,
    }


def checked(olds: Properties, news: Properties) -> tuple[dict[str, int], int]:
    found = PREPARATION.check(olds, news).inputs
    return found["traffic"], found["capacity"]


def known(**other: Any) -> Properties:
    return PREPARATION.check({}, prepared(**other)).inputs


def test_a_new_endpoint_begins_without_traffic_and_with_the_declared_count() -> None:
    assert checked({}, prepared(instances=3)) == ({}, 3)


def test_the_endpoint_is_put_again_with_the_traffic_that_it_has(arm: InProcessArm) -> None:
    olds = known()
    arm.endpoint({"new": 100})
    assert checked(olds, prepared()) == ({}, 1)  # nothing changes: nothing is put
    assert checked(olds, prepared(content="c2")) == ({"new": 100}, 1)


def test_refresh_records_the_traffic_and_the_count_that_the_plugin_reads_too(arm: InProcessArm) -> None:
    olds = known(max_instances=4)
    arm.endpoint({"new": 100})
    arm.deploy("new", capacity=3)
    found = PREPARATION.read(ENDPOINT, olds).outs
    assert found
    assert checked(found, prepared(max_instances=4)) == ({"new": 100}, 3)


def test_autoscalings_count_is_kept_when_the_deployment_is_put_or_replaced(arm: InProcessArm) -> None:
    olds = known(max_instances=4)
    arm.endpoint({"new": 100})
    arm.deploy("new", capacity=3)
    assert checked(olds, prepared(max_instances=4))[1] == 1  # nothing is put
    assert checked(olds, prepared(max_instances=4, settings="s2"))[1] == 3
    assert checked(olds, prepared(max_instances=2, settings="s2"))[1] == 2
    assert checked(olds, prepared(max_instances=4, deployment="newer"))[1] == 3
    assert checked(olds, prepared(deployment="newer"))[1] == 1


def test_scaling_ends_before_its_count_is_fixed_and_is_made_anew_when_it_comes_back(arm: InProcessArm) -> None:
    """It would bring its count back, and the engine deletes it last; it finds it gone then."""
    olds = known(max_instances=4)
    arm.endpoint({"new": 100})
    arm.deploy("new", capacity=3)
    arm.documents[SCALING] = {"properties": {}}
    PREPARATION.update("", olds, known(max_instances=3))
    assert SCALING in arm.documents

    fixed = PREPARATION.check(olds, prepared()).inputs
    assert PREPARATION.diff("", olds, fixed).changes
    recorded = PREPARATION.update("", olds, fixed).outs
    assert recorded
    assert SCALING not in arm.documents
    assert ("PUT", "new") not in arm.calls

    again = PREPARATION.check(recorded, prepared(max_instances=4)).inputs
    assert again["repairs"]["scaling"] == 1, "its tag: the state has it still where the update failed after that"
    arm.calls.clear()
    PREPARATION.update("", recorded, fixed)
    assert not [call for call in arm.calls if call[0] == "DELETE"], "others may not be allowed to"


def test_what_an_older_kit_recorded_is_no_change() -> None:
    older = {key: value for key, value in known().items() if key != "scaling"}
    assert not PREPARATION.diff("", older, PREPARATION.check(older, prepared()).inputs).changes


@pytest.mark.parametrize("state", ["Failed", "Canceled"])
def test_a_deployment_that_failed_is_removed_and_its_tag_changes(
    arm: InProcessArm, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    olds = known()
    arm.endpoint()
    arm.deploy("new", state=state)
    news = PREPARATION.check(olds, prepared()).inputs
    assert news["repairs"] == {"endpoint": 0, "deployment": 1}
    assert PREPARATION.diff("", olds, news).changes
    recorded = PREPARATION.update("", olds, news).outs
    assert recorded
    assert f"{ENDPOINT}/deployments/new" not in arm.documents
    assert "its deployment new, whose making failed, was removed" in capsys.readouterr().out

    arm.deploy("new")
    assert not PREPARATION.diff("", recorded, PREPARATION.check(news, prepared()).inputs).changes
    newer = PREPARATION.check(news, prepared(deployment="newer")).inputs
    assert newer["repairs"] == {"endpoint": 0, "deployment": 0}


@pytest.mark.parametrize("traffic", [{"new": 100}, {"old": 90, "new": 10}])
def test_a_deployment_that_failed_and_has_requests_stays(arm: InProcessArm, traffic: dict[str, int]) -> None:
    olds = known()
    arm.endpoint(traffic)
    arm.deploy("new", state="Failed")
    news = PREPARATION.check(olds, prepared()).inputs
    assert news["repairs"]["deployment"] == 1
    PREPARATION.update("", olds, news)
    assert f"{ENDPOINT}/deployments/new" in arm.documents


def test_an_endpoint_that_failed_is_put_again_with_the_traffic_that_it_has(arm: InProcessArm) -> None:
    olds = known()
    arm.endpoint({"new": 100})
    arm.deploy("new")
    arm.documents[ENDPOINT]["properties"]["provisioningState"] = "Failed"
    news = PREPARATION.check(olds, prepared()).inputs
    assert (news["repairs"], news["traffic"]) == ({"endpoint": 1, "deployment": 0}, {"new": 100})


ENVIRONMENT = f"{WORKSPACE}/environments/serving/versions/1"
MODEL = f"{WORKSPACE}/models/chatbot/versions/2"
LIVE = live.LiveProvider()


def declared(**other: Any) -> Properties:
    return {
        **PLACE,
        "endpoint": ENDPOINT,
        "deployment": "new",
        "traffic": {"new": 100},
        "state": "Succeeded",
        "model_version": MODEL,
        "environment": ENVIRONMENT,
        "image": "r/serving@sha256:1",
        "instance_type": "Standard_DS3_v2",
        "instances": 1,
        "max_instances": 1,
        **other,
    }


@pytest.fixture
def serving(arm: InProcessArm) -> InProcessArm:
    arm.endpoint({"new": 100})
    arm.deploy("new", model=MODEL.upper(), environmentId=ENVIRONMENT, instanceType="STANDARD_DS3_V2")
    arm.documents[ENVIRONMENT] = {"properties": {"image": "r/serving@sha256:1"}}
    return arm


def test_what_is_live_as_declared_is_well(serving: InProcessArm) -> None:
    assert LIVE.create(declared()).outs == declared()
    assert LIVE.read(ENDPOINT, declared()).outs == declared()
    assert serving.traffic == []


@pytest.mark.scorecard("drift")
@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        (f"{ENDPOINT}:properties.traffic", {"old": 100}, "traffic"),
        (f"{ENDPOINT}:properties.provisioningState", "Failed", "state"),
        (f"{ENDPOINT}/deployments/new:properties.provisioningState", "Failed", "state"),
        (f"{ENDPOINT}/deployments/new:properties.model", "another", "model_version"),
        (f"{ENDPOINT}/deployments/new:properties.environmentId", "another", "environment"),
        (f"{ENDPOINT}/deployments/new:properties.instanceType", "Standard_F2", "instance_type"),
        (f"{ENDPOINT}/deployments/new:sku.capacity", 3, "instances"),
        (f"{ENVIRONMENT}:properties.image", "r/serving@sha256:2", "image"),
    ],
)
def test_what_is_live_in_another_way_is_told(serving: InProcessArm, path: str, value: Any, key: str) -> None:
    id_, _, members = path.partition(":")
    outer, inner = members.split(".")
    serving.documents[id_][outer][inner] = value
    with pytest.raises(KitError, match=f"{key.replace('_', ' ')} is"):
        LIVE.update("", declared(), declared())
    found = LIVE.read(ENDPOINT, declared()).outs
    assert found
    assert LIVE.diff("", found, declared()).changes


def test_a_deployment_that_is_gone_is_told(serving: InProcessArm) -> None:
    del serving.documents[f"{ENDPOINT}/deployments/new"]
    with pytest.raises(KitError, match="deployment is"):
        LIVE.update("", declared(), declared())


def test_a_scaled_deployment_may_have_any_count_in_its_limits(serving: InProcessArm) -> None:
    serving.documents[f"{ENDPOINT}/deployments/new"]["sku"]["capacity"] = 3
    LIVE.update("", declared(), declared(max_instances=4))


DEPLOYMENT = f"{ENDPOINT}/deployments/new"


@pytest.mark.parametrize("busy", [ENDPOINT, DEPLOYMENT])
@pytest.mark.parametrize("end", ["Succeeded", "Failed"])
def test_an_operation_that_autoscaling_started_is_waited_for(
    serving: InProcessArm, monkeypatch: pytest.MonkeyPatch, busy: str, end: str
) -> None:
    states = iter(["Updating", "Updating", end])
    find = ResourceManager.find

    def found(arm: ResourceManager, id_: str, api_version: str = "") -> Any:
        document = find(arm, id_, api_version)
        if document and id_ == busy:
            document["properties"]["provisioningState"] = next(states, end)
        return document

    monkeypatch.setattr(ResourceManager, "find", found)
    if end == "Succeeded":
        assert LIVE.update("", declared(), declared()).outs == declared()
    else:
        with pytest.raises(KitError, match="state is Failed"):
            LIVE.update("", declared(), declared())
    assert next(states, None) is None


@pytest.mark.parametrize("busy", [ENDPOINT, DEPLOYMENT])
def test_an_operation_without_end_is_an_error_with_the_time_that_it_had(
    serving: InProcessArm, monkeypatch: pytest.MonkeyPatch, busy: str
) -> None:
    serving.documents[busy]["properties"]["provisioningState"] = "Updating"
    monkeypatch.setattr(online, "_WAIT_SECONDS", 0.0)
    with pytest.raises(KitError, match=r"Updating.* 0 minutes"):
        LIVE.update("", declared(), declared())


def test_a_scheduled_spec_is_written_and_removed(store: Container) -> None:
    provider = scheduled_spec.ScheduledSpecProvider()
    props = {**PLACE, "container": "https://work", "key": "schedules/a/1/run.json", "content": "{}"}
    provider.create(props)
    provider.update("", props, props | {"key": "schedules/a/2/run.json"})
    assert list(store.blobs) == ["schedules/a/2/run.json"]
    for _ in range(2):
        provider.delete("", props | {"key": "schedules/a/2/run.json"})
    assert not store.blobs


def test_a_cluster_is_deleted_with_its_machines(arm: InProcessArm, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, asked = f"{WORKSPACE}/computes/cpu", list[Any]()
    arm.documents[cluster] = {"properties": {}}

    def call(
        _arm: ResourceManager, method: str, id_: str, api_version: str, query: dict[str, str], **others: Any
    ) -> Any:
        asked.append((method, id_.rpartition("/")[2], query))
        return arm.call(method, id_, api_version, **others)

    monkeypatch.setattr(ResourceManager, "_call", call)
    provider, props = cluster_removal.ClusterRemovalProvider(), {**PLACE, "cluster": cluster}
    provider.create(props)
    provider.delete(cluster, props)
    provider.delete(cluster, props)
    assert asked == [("DELETE", "cpu", {"underlyingResourceAction": "Delete"})] * 2
    assert cluster not in arm.documents


BUDGET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Consumption/budgets/b"
MONTHLY = {**PLACE, "budget": BUDGET, "content": json.dumps({"amount": 100})}


def test_a_budget_is_changed_by_its_etag_and_its_months_go_on(arm: InProcessArm) -> None:
    provider = budget.BudgetProvider()
    assert (provider.create(MONTHLY).outs or {})["refused"] == ""
    began = arm.documents[BUDGET]["properties"]["timePeriod"]
    assert began["startDate"].endswith("-01T00:00:00Z")
    began["startDate"] = "2026-01-01T00:00:00Z"
    arm.documents[BUDGET] |= {"eTag": '"1"'}
    provider.update(BUDGET, MONTHLY, {**MONTHLY, "content": json.dumps({"amount": 200})})
    found = arm.documents[BUDGET]
    assert (found["eTag"], found["properties"]) == ('"1"', {"amount": 200, "timePeriod": began})
    assert provider.read(BUDGET, MONTHLY).id == BUDGET
    provider.delete(BUDGET, MONTHLY)
    assert not provider.read(BUDGET, MONTHLY).id


@pytest.mark.parametrize(("status", "ends"), [(400, False), (422, False), (403, True), (500, True)])
def test_a_subscription_without_budgets_goes_without_one(
    arm: InProcessArm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int, ends: bool
) -> None:
    def refuse(_arm: ResourceManager, method: str, *_: Any, **__: Any) -> None:
        if method == "PUT":
            with explained(BUDGET):
                error = HttpResponseError("is not associated with a valid offer type")
                error.status_code = status
                raise error

    monkeypatch.setattr(ResourceManager, "_call", refuse)
    provider = budget.BudgetProvider()
    if ends:
        with pytest.raises(KitError, match="offer type"):
            provider.create(MONTHLY)
        return
    outs = provider.create(MONTHLY).outs or {}
    assert "offer type" in outs["refused"]
    assert "nobody will be told of its costs" in capsys.readouterr().out
    assert provider.read(BUDGET, outs).id == BUDGET, "it is not asked for again until its settings change"


def test_a_version_is_archived_in_the_place_of_deleted_and_comes_back(arm: InProcessArm) -> None:
    provider, id_ = asset.AssetProvider(), f"{WORKSPACE}/environments/serving/versions/abc"
    content = {"image": "r.azurecr.io/serving@sha256:1", "inferenceConfig": {"scoringRoute": {"path": "/", "port": 80}}}
    props = {**PLACE, "asset": id_, "content": json.dumps(content)}
    assert provider.create(props).id == id_
    assert arm.documents[id_]["properties"] == {**content, "isArchived": False}
    assert provider.read(id_, props).id == id_

    arm.documents[id_]["properties"] |= {"provisioningState": "Succeeded", "environmentType": "UserCreated"}
    provider.delete(id_, props)
    assert arm.documents[id_]["properties"] == {**content, "isArchived": True}, "read-only members are not sent"
    assert not provider.read(id_, props).id
    provider.create(props)
    assert provider.read(id_, props).id == id_
    assert ("DELETE", "abc") not in arm.calls

    del arm.documents[id_]
    provider.delete(id_, props)
    assert id_ not in arm.documents, "it went with its workspace"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_providers_are_pickled_by_reference(provider: type[KitProvider]) -> None:
    text = dill.dumps(provider())
    assert len(text) < 300
    heavy = {"azure.core", "pulumi_azure_native"}
    code = f"import dill, sys; dill.loads({text!r}); print(not {heavy!r}.isdisjoint(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.strip() == "False"
