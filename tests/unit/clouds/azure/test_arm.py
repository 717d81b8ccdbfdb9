"""Azure Resource Manager's protocol: what is missing, pages, operations that take time, throttling."""

import pytest

from llmops_kit.clouds.azure.arm import ARM, ResourceManager
from llmops_kit.clouds.azure.names import ML_API
from llmops_kit.core.errors import KitError
from tests.unit.clouds.azure.cloud import Cloud

JOBS = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/w/jobs"


def test_what_is_there_and_what_is_not(arm: ResourceManager, cloud: Cloud) -> None:
    cloud.documents[f"{JOBS}/a"] = {"name": "a"}
    assert arm.get(f"{JOBS}/a") == {"name": "a"}
    assert cloud.asked[0].query == {"api-version": ML_API}
    assert arm.find(f"{JOBS}/b") is None
    with pytest.raises(KitError, match="does not exist on Azure"):
        arm.get(f"{JOBS}/b")
    arm.delete(f"{JOBS}/b")


@pytest.mark.parametrize("code", ["SubscriptionNotFound", "InvalidSubscriptionId"])
def test_a_subscription_that_is_not_there_is_no_empty_one(arm: ResourceManager, cloud: Cloud, code: str) -> None:
    gone = {"error": {"code": code, "message": "The subscription 's' could not be found."}}
    for method, ask in (("GET", lambda: list(arm.list(JOBS))), ("DELETE", lambda: arm.delete(JOBS))):
        cloud.answer(method, JOBS, (404, gone, {}))
        with pytest.raises(KitError, match=code) as refused:
            ask()
        assert "az account list" in refused.value.fix


def test_a_token_that_expired_is_one_to_be_had_anew(arm: ResourceManager, cloud: Cloud) -> None:
    expired = {"error": {"code": "ExpiredAuthenticationToken", "message": "The access token expiry is earlier."}}
    cloud.answer("GET", f"{JOBS}/a", (401, expired, {}))
    with pytest.raises(KitError, match="ExpiredAuthenticationToken") as refused:
        arm.find(f"{JOBS}/a")
    assert "az login" in refused.value.fix


def test_what_can_not_be_made_where_its_parent_is_missing_is_an_error(arm: ResourceManager, cloud: Cloud) -> None:
    gone = {"error": {"code": "ResourceGroupNotFound", "message": "Resource group 'rg' could not be found."}}
    for method, ask in (("PUT", arm.put), ("PATCH", arm.patch)):
        cloud.answer(method, f"{JOBS}/a", (404, gone, {}))
        with pytest.raises(KitError, match="ResourceGroupNotFound"):
            ask(f"{JOBS}/a", {})


def test_all_pages_of_a_collection_are_read(arm: ResourceManager, cloud: Cloud) -> None:
    cloud.answer(
        "GET",
        JOBS,
        (200, {"value": [{"name": "a"}], "nextLink": f"{ARM}{JOBS}?api-version={ML_API}&$skip=1"}, {}),
        (200, {"value": [{"name": "b"}]}, {}),
    )
    assert [job["name"] for job in arm.list(JOBS, jobType="Command")] == ["a", "b"]
    assert [each.query.get("$skip") for each in cloud.asked] == [None, "1"]
    assert cloud.asked[0].query["jobType"] == "Command"


def test_a_link_may_name_the_port_that_goes_without_saying(arm: ResourceManager, cloud: Cloud) -> None:
    """As recordings of Azure's own SDKs have it."""
    link = f"https://MANAGEMENT.azure.com:443{JOBS}?api-version={ML_API}&$skip=1"
    first = {"value": [{"name": "a"}], "nextLink": link}
    cloud.answer("GET", JOBS, (200, first, {}), (200, {"value": [{"name": "b"}]}, {}))
    assert [job["name"] for job in arm.list(JOBS)] == ["a", "b"]


@pytest.mark.parametrize(
    "place",
    [
        "https://elsewhere.example",
        "https://management.azure.com.elsewhere.example",
        "https://management.azure.com@elsewhere.example",
        "https://management.azure.com:8443",
        "http://management.azure.com",
        "//management.azure.com",
    ],
)
def test_no_token_follows_a_link_to_elsewhere(arm: ResourceManager, cloud: Cloud, place: str) -> None:
    cloud.answer("GET", JOBS, (200, {"value": [], "nextLink": f"{place}/jobs"}, {}))
    with pytest.raises(KitError, match="elsewhere"):
        list(arm.list(JOBS))
    assert len(cloud.asked) == 1


def test_an_operation_is_waited_for(arm: ResourceManager, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmops_kit.clouds.azure.arm._POLL_SECONDS", 0)
    operation = "/operations/1"
    headers = {"Azure-AsyncOperation": f"{ARM}{operation}"}
    cloud.answer("PUT", f"{JOBS}/a", (201, {"name": "a", "properties": {"provisioningState": "Creating"}}, headers))
    cloud.answer("GET", operation, (200, {"status": "InProgress"}, {}), (200, {"status": "Succeeded"}, {}))
    cloud.documents[f"{JOBS}/a"] = {"name": "a", "properties": {"provisioningState": "Succeeded"}}
    made = arm.put(f"{JOBS}/a", {"properties": {}})
    assert made["properties"]["provisioningState"] == "Succeeded"
    assert [each.path for each in cloud.asked].count(operation) == 2


def test_what_is_there_at_once_is_not_asked_for(arm: ResourceManager, cloud: Cloud) -> None:
    """Azure may not show it yet."""
    cloud.answer("PUT", f"{JOBS}/a", (201, {"name": "a", "properties": {"status": "NotStarted"}}, {}))
    assert arm.put(f"{JOBS}/a", {"properties": {}}, wait=False)["name"] == "a"
    assert [each.method for each in cloud.asked] == ["PUT"]


def test_an_operation_that_fails_is_told(arm: ResourceManager, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmops_kit.clouds.azure.arm._POLL_SECONDS", 0)
    headers = {"Azure-AsyncOperation": f"{ARM}/operations/1"}
    cloud.answer("POST", f"{JOBS}/a/cancel", (202, None, headers))
    error = {"code": "Conflict", "message": "it has ended"}
    cloud.answer("GET", "/operations/1", (200, {"status": "Failed", "error": error}, {}))
    with pytest.raises(KitError, match="it has ended"):
        arm.post(f"{JOBS}/a", "cancel")


def test_throttled_requests_are_tried_again(arm: ResourceManager, cloud: Cloud) -> None:
    throttled = (429, {"error": {"code": "TooManyRequests", "message": "slow down"}}, {"Retry-After": "1"})
    cloud.answer("GET", f"{JOBS}/a", throttled, throttled, (200, {"name": "a"}, {}))
    assert arm.get(f"{JOBS}/a") == {"name": "a"}
    assert len(cloud.asked) == 3


def test_refusals_are_told(arm: ResourceManager, cloud: Cloud) -> None:
    cloud.answer("PUT", f"{JOBS}/a", (400, {"error": {"code": "ValidationError", "message": "no such compute"}}, {}))
    with pytest.raises(KitError, match="ValidationError: no such compute") as caught:
        arm.put(f"{JOBS}/a", {})
    assert caught.value.where == f"{JOBS}/a"
