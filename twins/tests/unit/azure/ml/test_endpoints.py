"""Endpoints and deployments: traffic, quota, identities, and their way to Succeeded or Failed."""

from pathlib import Path
from typing import Any

import pytest

from llmops_twins.azure.arm import operations
from llmops_twins.azure.entra import tokens
from llmops_twins.azure.ml.endpoints import token_audience
from llmops_twins.azure.ml.running import needs
from llmops_twins.azure.ml.running.reports import NothingRuns, RunFailure, deployment_settled
from llmops_twins.azure.protocol.calls import Document
from twins.tests.unit.azure.services.workspace import IMAGE, VERSION, Workspace

A, B = "/onlineEndpoints/chat/deployments/chat-a", "/onlineEndpoints/chat/deployments/chat-b"


@pytest.fixture
def ml(tmp_path: Path) -> Workspace:
    found = Workspace(tmp_path).make()
    found.ok("/onlineEndpoints/chat", found.endpoint())
    return found


def test_traffic_goes_to_deployments_that_are_there_and_sums_to_100(ml: Workspace) -> None:
    ml.refused("/onlineEndpoints/chat", ml.endpoint(traffic={"chat-a": 100}), "does not exist: chat-a")
    ml.ok(A, ml.deployment())
    ml.ok(B, ml.deployment())

    ml.refused("/onlineEndpoints/chat", ml.endpoint(traffic={"chat-a": 90}), "must sum to 0 or 100 percent, not 90")
    made = ml.ok("/onlineEndpoints/chat", ml.endpoint(traffic={"chat-a": 90, "chat-b": 10}))
    assert made["properties"]["traffic"] == {"chat-a": 90, "chat-b": 10}


@pytest.mark.parametrize("provider", ["Microsoft.Cdn", "Microsoft.PolicyInsights"])
def test_an_endpoint_fails_where_a_provider_that_it_needs_is_not_registered(ml: Workspace, provider: str) -> None:
    state = f"{{sub}}/providers/{provider}"
    assert ml.arm.call("POST", f"{state}/unregister", "2021-04-01").body["registrationState"] == "NotRegistered"
    failed = ml.put("/onlineEndpoints/other", ml.endpoint())
    ml.arm.pass_time()
    assert ml.get("/onlineEndpoints/other").body["properties"]["provisioningState"] == "Failed"
    path, _, query = failed.headers["Azure-AsyncOperation"].removeprefix(ml.twin.url).partition("?")
    error = ml.arm.get(path, query.partition("=")[2]).body["error"]
    assert error["code"] == "SubscriptionNotRegistered"
    assert "Resource provider [N/A] isn't registered with Subscription [N/A]" in error["message"]

    ml.arm.call("POST", f"{state}/register", "2021-04-01")
    assert ml.ok("/onlineEndpoints/other", ml.endpoint())["properties"]["provisioningState"] == "Succeeded"


def test_no_new_deployment_while_its_endpoint_is_updating(ml: Workspace) -> None:
    ml.ok(A, ml.deployment())
    ml.put("/onlineEndpoints/chat", ml.endpoint(traffic={"chat-a": 100}))
    words = "Cannot create a deployment in endpoint chat because it is in Updating provisioning state."
    ml.refused(B, ml.deployment(), words, 409)
    assert ml.put(A, ml.deployment(capacity=2)).status == 200
    ml.arm.pass_time()
    ml.ok(B, ml.deployment())


def test_an_endpoint_put_without_traffic_has_none(ml: Workspace) -> None:
    ml.ok(A, ml.deployment())
    ml.ok("/onlineEndpoints/chat", ml.endpoint(traffic={"chat-a": 100}))

    assert ml.ok("/onlineEndpoints/chat", ml.endpoint())["properties"]["traffic"] == {}


def test_a_tag_by_patch_leaves_traffic(ml: Workspace) -> None:
    ml.ok(A, ml.deployment())
    ml.ok("/onlineEndpoints/chat", ml.endpoint(traffic={"chat-a": 100}))
    accepted = ml.arm.call("PATCH", f"{ml.id}/onlineEndpoints/chat", VERSION, {"tags": {"a": "b"}})
    assert (accepted.status, accepted.body) == (202, None)
    ml.arm.pass_time()

    after = ml.get("/onlineEndpoints/chat").body
    assert (after["tags"], after["properties"]["traffic"]) == ({"a": "b"}, {"chat-a": 100})


@pytest.mark.parametrize(
    ("method", "path", "header"),
    [
        ("PUT", "/onlineEndpoints/other", "Azure-AsyncOperation"),
        ("PATCH", "/onlineEndpoints/chat", "Location"),
        ("DELETE", "/onlineEndpoints/chat", "Location"),
        ("PUT", A, "Azure-AsyncOperation"),
        ("DELETE", "", "Location"),
    ],
)
def test_an_operation_is_asked_for_where_the_specification_says(
    ml: Workspace, method: str, path: str, header: str
) -> None:
    body = ml.deployment() if path == A else ml.endpoint() if method == "PUT" else {"tags": {}}
    answer = ml.arm.call(method, ml.id + path, VERSION, None if method == "DELETE" else body)
    assert (answer.status, answer.body is None) == ((201, False) if method == "PUT" else (202, True))
    assert [name for name in ("Azure-AsyncOperation", "Location") if name in answer.headers] == [header]


def test_lists_of_endpoints_and_deployments_by_their_parameters(ml: Workspace) -> None:
    ml.ok("/onlineEndpoints/other", {**ml.endpoint(), "tags": {"a": "1", "b": "2"}})
    ml.ok(A, ml.deployment())
    ml.ok(B, ml.deployment())

    def names(path: str, **query: str) -> list[str]:
        return [each["name"] for each in ml.get(path, **query).body["value"]]

    endpoints, deployments = "/onlineEndpoints", "/onlineEndpoints/chat/deployments"
    assert names(endpoints) == ["other", "chat"]
    assert names(endpoints, orderBy="CreatedTimeAsc") == ["chat", "other"]
    assert names(endpoints, name="chat") == ["chat"]
    assert names(endpoints, tags="a,b=2") == ["other"]
    assert names(endpoints, tags="a=2") == names(endpoints, computeType="Kubernetes") == []
    assert names(deployments, **{"$orderBy": "CreatedTimeAsc"}) == ["chat-a", "chat-b"]
    first = ml.get(endpoints, count="1").body
    assert [each["name"] for each in first["value"]] == ["other"]
    assert "count=1" in first["nextLink"]
    assert names(deployments, **{"$top": "1"}) == ["chat-b"]
    refused = ml.get(deployments, **{"$top": "no"})
    assert (refused.status, refused.code) == (400, "InvalidQueryParameter")


def test_mirrored_traffic_goes_to_one_that_has_no_live_traffic(ml: Workspace) -> None:
    ml.ok(A, ml.deployment())
    ml.ok(B, ml.deployment())
    live: dict[str, Any] = {"traffic": {"chat-a": 100}}

    def refused(mirror: dict[str, int], words: str) -> None:
        ml.refused("/onlineEndpoints/chat", ml.endpoint(**live, mirrorTraffic=mirror), words)

    refused({"chat-b": 51}, "between 0 and 50 percent")
    refused({"chat-a": 10}, "can't have live and mirrored traffic")
    refused({"chat-a": 1, "chat-b": 1}, "mirrored to one deployment only")
    ml.ok("/onlineEndpoints/chat", ml.endpoint(**live, mirrorTraffic={"chat-b": 20}))
    ml.is_refused(ml.arm.delete(ml.id + B, VERSION), "has 20% of mirrored traffic")


def test_a_deployment_with_traffic_stays(ml: Workspace) -> None:
    ml.ok(A, ml.deployment())
    ml.ok("/onlineEndpoints/chat", ml.endpoint(traffic={"chat-a": 100}))
    ml.is_refused(ml.arm.delete(ml.id + A, VERSION), "has 100% of live traffic")

    ml.ok("/onlineEndpoints/chat", ml.endpoint(traffic={"chat-a": 0}))
    assert ml.arm.delete(ml.id + A, VERSION).status == 202
    ml.arm.pass_time()
    assert ml.get(A).status == 404
    assert ml.get("/onlineEndpoints/chat").body["properties"]["traffic"] == {}


def test_a_deployments_machine_stays_and_its_count_changes(ml: Workspace) -> None:
    ml.ok(A, ml.deployment())

    ml.refused(A, ml.deployment(instanceType="Standard_DS4_v2"), "properties.instanceType of deployment chat-a")
    assert ml.ok(A, ml.deployment(2))["sku"]["capacity"] == 2
    assert ml.arm.call("PATCH", ml.id + A, VERSION, {"sku": {"capacity": 3, "name": "Default"}}).status == 202
    ml.arm.pass_time()
    assert ml.get(A).body["sku"]["capacity"] == 3


def test_quota_holds_a_fifth_more_machines_than_were_asked_for(ml: Workspace) -> None:
    ml.refused(A, ml.deployment(21), "usage/limit: 0/100. Additional needed: 104")
    ml.ok(A, ml.deployment(20))

    answer = ml.refused(B, ml.deployment(2), "usage/limit: 96/100. Additional needed: 12")
    assert answer.code == "OutOfQuota"


def test_a_deployment_names_what_is_there(ml: Workspace) -> None:
    ml.refused(A, ml.deployment(model=f"{ml.id}/models/none/versions/1"), "Model version not found")
    ml.refused(A, ml.deployment(environmentId="azureml:none:1"), "Environment version not found")
    ml.ok("/environments/bare/versions/1", {"properties": {"image": IMAGE}})
    ml.refused(A, ml.deployment(environmentId="azureml:bare:1"), "has no inferenceConfig")
    ml.refused(A, ml.deployment(requestSettings={"requestTimeout": "PT10M"}), "at most 180 seconds")
    assert ml.put("/onlineEndpoints/none/deployments/chat-a", ml.deployment()).code == "ParentResourceNotFound"


def test_a_deployment_has_azures_defaults(ml: Workspace) -> None:
    made = ml.ok(A, ml.deployment(livenessProbe={"period": "PT5S"}))["properties"]

    assert made["requestSettings"]["requestTimeout"] == "PT5S"
    assert made["livenessProbe"] == {
        "initialDelay": "PT10S", "period": "PT5S", "timeout": "PT2S", "successThreshold": 1, "failureThreshold": 30,
    }  # fmt: skip
    assert made["provisioningState"] == "Succeeded"


@pytest.mark.parametrize("action", [needs.PULL, needs.READ])
def test_a_deployment_fails_by_name_when_its_identity_may_not(ml: Workspace, action: str) -> None:
    ml.twin.judge_of_roles = lambda who, wanted, scope, data, _: who != ml.principal or wanted != action
    answer = ml.put(A, ml.deployment())
    assert answer.body["properties"]["provisioningState"] == "Creating"
    ml.arm.pass_time()

    status = ml.arm.get(answer.headers["Azure-AsyncOperation"].removeprefix(ml.twin.url).partition("?")[0], VERSION)
    assert status.body["status"] == "Failed"
    of_the_registry = "Endpoint identity does not have pull permission on the registry"
    words = of_the_registry if "ContainerRegistry" in action else f"perform action '{action}'"
    assert words in status.body["error"]["message"]
    assert ml.get(A).body["properties"]["provisioningState"] == "Failed"


def test_what_runs_decides_whether_a_deployment_is_ready(ml: Workspace) -> None:
    class Slow(NothingRuns):
        def deployment_wanted(self, document: Document) -> None:
            wanted.append(document["id"])

    wanted: list[str] = []
    ml.twin.running = Slow(ml.twin)
    ml.put(A, ml.deployment())
    ml.arm.pass_time()
    assert wanted == [ml.id + A]
    assert ml.put(A, ml.deployment()).code == "AnotherOperationInProgress"

    deployment_settled(ml.twin, ml.id + A, RunFailure("ResourceNotReady", "User container has crashed."))
    assert ml.get(A).body["properties"]["provisioningState"] == "Failed"
    assert operations.running(ml.twin, ml.id + A) is None


def test_a_managed_network_comes_before_deployments(tmp_path: Path) -> None:
    ml = Workspace(tmp_path).make(managedNetwork={"isolationMode": "AllowInternetOutbound"})
    ml.ok("/onlineEndpoints/chat", ml.endpoint())
    answer = ml.refused(A, ml.deployment(), "managed network of workspace kit-ml is not provisioned")
    assert answer.code == "WorkspaceManagedNetworkNotReady"

    assert ml.post("/provisionManagedNetwork", {}).status == 202
    ml.arm.pass_time()
    ml.ok(A, ml.deployment())


def test_names_are_azures_and_unique_in_a_region(ml: Workspace) -> None:
    for name in ("ab", "1chat", "chat--a", "chat-", "x" * 33):
        assert ml.put(f"/onlineEndpoints/{name}", ml.endpoint()).code == "InvalidResourceName"
    other = ml.id.replace("kit-ml", "other")
    assert ml.arm.put(other, VERSION, ml.body()).status == 202
    ml.arm.pass_time()

    taken = ml.arm.put(f"{other}/onlineEndpoints/chat", VERSION, ml.endpoint())
    ml.is_refused(taken, "names are unique in a region", 409)


def test_keys_are_for_endpoints_with_keys(ml: Workspace) -> None:
    ml.is_refused(ml.post("/onlineEndpoints/chat/listKeys"), "so it has no keys")
    ml.ok("/onlineEndpoints/keyed", ml.endpoint(authMode="Key"))
    first = ml.post("/onlineEndpoints/keyed/listKeys").body
    assert ml.post("/onlineEndpoints/keyed/regenerateKeys", {"keyType": "Primary"}).status == 200

    second = ml.post("/onlineEndpoints/keyed/listKeys").body
    assert first["primaryKey"] != second["primaryKey"]
    assert first["secondaryKey"] == second["secondaryKey"]
    assert "keys" not in ml.get("/onlineEndpoints/keyed").body["properties"]


def test_the_scoring_uri_has_the_images_route(ml: Workspace) -> None:
    assert ml.get("/onlineEndpoints/chat").body["properties"]["scoringUri"].endswith("/score")
    ml.ok(A, ml.deployment())

    own = ml.twin.running.scoring_url(f"{ml.id}/onlineEndpoints/chat")
    assert ml.get("/onlineEndpoints/chat").body["properties"]["scoringUri"] == f"{own}/"


def test_an_endpoints_identity_stays(ml: Workspace) -> None:
    changed = {**ml.endpoint(), "identity": {"type": "SystemAssigned"}}
    ml.refused("/onlineEndpoints/chat", changed, "identity of an endpoint can't be changed")


def test_an_identity_is_given_by_who_may(ml: Workspace) -> None:
    ml.twin.judge_of_roles = lambda who, action, scope, data, _: not action.endswith("/assign/action")

    assert ml.put("/onlineEndpoints/other", ml.endpoint()).code == "LinkedAuthorizationFailed"


def test_an_endpoint_takes_its_deployments_with_it(ml: Workspace) -> None:
    gone: list[str] = []

    class Counting(NothingRuns):
        def deployment_gone(self, deployment_id: str) -> None:
            gone.append(deployment_id)

    ml.twin.running = Counting(ml.twin)
    ml.ok(A, ml.deployment())
    assert ml.arm.delete(f"{ml.id}/onlineEndpoints/chat", VERSION).status == 202
    ml.arm.pass_time()

    assert ml.get(A).status == 404
    assert gone == [ml.id + A]


def test_logs_are_those_of_what_runs(ml: Workspace) -> None:
    ml.ok(A, ml.deployment())

    assert ml.post(f"{A}/getLogs", {"containerType": "InferenceServer", "tail": 5}).body == {"content": ""}
    ml.is_refused(ml.post(f"{A}/getLogs", {"containerType": "Other"}), "The request is invalid")


def test_a_token_opens_an_endpoint_of_that_kind_for_a_while(ml: Workspace) -> None:
    ml.ok("/onlineEndpoints/tokened", ml.endpoint(authMode="AMLToken"))
    found = ml.post("/onlineEndpoints/tokened/token").body

    endpoint = ml.twin.find(f"{ml.id}/onlineEndpoints/tokened")
    assert endpoint
    claims = tokens.claims_of(ml.twin, found["accessToken"])
    assert claims["aud"] == token_audience(endpoint)
    assert claims["exp"] - found["expiryTimeUtc"] in (0, 1)
    ml.is_refused(ml.post("/onlineEndpoints/tokened/listKeys"), "has authMode AMLToken")


def test_a_deployment_has_fifty_instances_at_most(ml: Workspace) -> None:
    ml.refused(A, ml.deployment(51), "between 1 and 50 instances")
