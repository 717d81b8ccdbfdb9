"""What an endpoint serves, by its documents; how its traffic is shared; and the end of its log."""

from typing import Any

import pytest

from llmops_kit.cli.platforms.azure.live import look, set_traffic
from llmops_kit.cli.platforms.azure.logs import overlap, read_logs
from llmops_kit.clouds.azure.arm import ResourceManager
from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import model_key
from tests.unit.clouds.azure.cloud import Cloud

WORKSPACE = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/w"
ENDPOINT = f"{WORKSPACE}/onlineEndpoints/chat-1"
OLD, NEW = "a" * 64, "b" * 64
IMAGE = "r.azurecr.io/serving@sha256:1"


def deployment(name: str, sha256: str, state: str = "Succeeded", instances: int = 2) -> dict[str, Any]:
    return {
        "id": f"{ENDPOINT}/deployments/{name}",
        "name": name,
        "sku": {"name": "Default", "capacity": instances},
        "properties": {
            "provisioningState": state,
            "model": f"{WORKSPACE}/models/chatbot/versions/{name}",
            "environmentId": f"{WORKSPACE}/environments/serving/versions/1",
            "environmentVariables": {"LLMOPS_MODEL_SHA256": sha256},
        },
    }


@pytest.fixture
def endpoint(cloud: Cloud) -> Cloud:
    """With an old version that takes all requests, and a new one."""
    cloud.documents[ENDPOINT] = {
        "id": ENDPOINT,
        "name": "chat-1",
        "location": "westeurope",
        "kind": "Managed",
        "tags": {"llmops:stack": "dev"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/i": {"clientId": "c", "principalId": "p"}}},
        "systemData": {"lastModifiedAt": "2026-11-25T12:00:00.1234567Z"},
        "properties": {
            "authMode": "AADToken",
            "provisioningState": "Succeeded",
            "publicNetworkAccess": "Enabled",
            "scoringUri": "https://x/",
            "traffic": {"old": 100},
        },
    }
    deployments = [deployment("old", OLD), deployment("new", NEW)]
    cloud.documents[f"{ENDPOINT}/deployments"] = {"value": deployments}
    for each, sha256 in (("old", OLD), ("new", NEW)):
        uri = f"azureml://subscriptions/s/workspaces/w/datastores/store/paths/{model_key(sha256)}"
        cloud.documents[f"{WORKSPACE}/models/chatbot/versions/{each}"] = {"properties": {"modelUri": uri}}
    cloud.documents[f"{WORKSPACE}/environments/serving/versions/1"] = {"properties": {"image": IMAGE}}
    return cloud


def test_what_serves_is_what_gets_requests(arm: ResourceManager, endpoint: Cloud) -> None:
    live = look(arm, ENDPOINT, IMAGE)
    assert (live.ready, live.problem, live.drift) == (True, "", ())
    assert live.models == {OLD: 1.0, NEW: 0.0}
    assert live.workers == 2
    assert live.changed == 1795608000.0


def test_what_is_wrong_is_told(arm: ResourceManager, endpoint: Cloud) -> None:
    endpoint.documents[f"{ENDPOINT}/deployments"]["value"][0]["properties"]["provisioningState"] = "Failed"
    assert look(arm, ENDPOINT, IMAGE).problem == "deployment old Failed"
    endpoint.documents[f"{ENDPOINT}/deployments"]["value"][0] = deployment("old", NEW)
    assert "deployment old says bbbbbbbbbbbb and loads" in look(arm, ENDPOINT, IMAGE).problem
    del endpoint.documents[f"{WORKSPACE}/models/chatbot/versions/old"]
    assert look(arm, ENDPOINT, IMAGE).problem == "its model chatbot/versions/old was deleted"
    assert look(arm, ENDPOINT, "other").drift == (f"image {IMAGE} instead of other",)
    endpoint.documents[ENDPOINT]["properties"]["traffic"] = {}
    assert look(arm, ENDPOINT, IMAGE).problem == "no deployment gets requests"
    del endpoint.documents[ENDPOINT]
    assert "there is no such endpoint" in look(arm, ENDPOINT, IMAGE).problem


def test_traffic_is_put_with_everything_else_of_the_endpoint(arm: ResourceManager, endpoint: Cloud) -> None:
    set_traffic(arm, ENDPOINT, {OLD: 0.9, NEW: 0.1})
    (body,) = endpoint.bodies("PUT")
    assert body == {
        "location": "westeurope",
        "kind": "Managed",
        "tags": {"llmops:stack": "dev"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/i": {}}},
        "properties": {
            "authMode": "AADToken",
            "publicNetworkAccess": "Enabled",
            "traffic": {"old": 90, "new": 10},
            "mirrorTraffic": {},
        },
    }


def test_traffic_that_can_not_be_is_refused(arm: ResourceManager, endpoint: Cloud) -> None:
    for shares, words in (({"c" * 64: 1.0}, "has not loaded sha256:cccccccccccc"), ({OLD: 0.5}, "50 %")):
        with pytest.raises(KitError, match=words):
            set_traffic(arm, ENDPOINT, shares)
    endpoint.documents[ENDPOINT]["tags"]["llmops:rollout"] = "new by up until 2999-01-01T00:00:00Z"
    with pytest.raises(KitError, match="owns its weights"):
        set_traffic(arm, ENDPOINT, {OLD: 1.0})
    assert endpoint.bodies("PUT") == []
    endpoint.documents[ENDPOINT]["tags"]["llmops:rollout"] = "new by up until 2020-01-01T00:00:00Z"
    set_traffic(arm, ENDPOINT, {OLD: 1.0})


def test_logs_of_several_deployments_are_told_apart(arm: ResourceManager, endpoint: Cloud) -> None:
    for name in ("old", "new"):
        path = f"{ENDPOINT}/deployments/{name}/getLogs"
        endpoint.answer("POST", path, (200, {"content": f"1 of {name}\n2 of {name}\n"}, {}))
    assert list(read_logs(arm, ENDPOINT, follow=False)) == [
        "old: 1 of old", "old: 2 of old", "new: 1 of new", "new: 2 of new"
    ]  # fmt: skip
    endpoint.documents[f"{ENDPOINT}/deployments"] = {"value": []}
    with pytest.raises(KitError, match="has no deployment"):
        list(read_logs(arm, ENDPOINT, follow=False))


def test_a_followed_log_tells_each_line_once(
    arm: ResourceManager, endpoint: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmops_kit.cli.platforms.azure.logs._POLL_SECONDS", 0)
    endpoint.documents[f"{ENDPOINT}/deployments"] = {"value": [deployment("old", OLD)]}
    contents = ["1\n2", "1\n2\n3", "2\n3\n4"]
    answers = [(200, {"content": content}, {}) for content in contents]
    endpoint.answer("POST", f"{ENDPOINT}/deployments/old/getLogs", *answers)
    lines = read_logs(arm, ENDPOINT, follow=True)
    assert [next(lines) for _ in range(4)] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [([], ["a"], 0), (["a"], ["a", "b"], 1), (["a", "b"], ["b", "c"], 1), (["a"], ["b"], 0), (["a", "a"], ["a"], 1)],
)
def test_how_much_of_a_log_is_known(before: list[str], now: list[str], same: int) -> None:
    assert overlap(before, now) == same
