"""Workspaces, computes, datastores and assets: what Azure ML takes, refuses and fills in."""

from pathlib import Path

import pytest

from twins.tests.unit.azure.services.workspace import IMAGE, LOCATION, ROUTES, VERSION, Workspace


@pytest.fixture
def ml(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_a_workspace_has_addresses_and_datastores_of_its_own(ml: Workspace) -> None:
    made = ml.ok("", ml.body())

    assert made["properties"]["provisioningState"] == "Succeeded"
    assert made["properties"]["discoveryUrl"] == f"{ml.twin.url}/discovery"
    assert made["properties"]["mlFlowTrackingUri"].endswith(ml.id)
    assert made["identity"]["principalId"]
    names = {each["name"]: each["properties"]["isDefault"] for each in ml.get("/datastores").body["value"]}
    assert names == {"workspaceblobstore": True, "workspaceartifactstore": False}


def test_a_workspace_needs_what_it_names(ml: Workspace) -> None:
    ml.refused("", ml.body(keyVault=None), "Missing dependent resources in workspace json: keyVault")
    ml.refused("", ml.body(keyVault=ml.account), "is not of type Microsoft.KeyVault/vaults")
    ml.refused("", {**ml.body(), "identity": None}, "needs a managed identity")
    identity = {"type": "UserAssigned", "userAssignedIdentities": {ml.identity: {}}}
    ml.refused("", {**ml.body(), "identity": identity}, "primaryUserAssignedIdentity is required")


def test_a_workspaces_own_identity_may_work_with_its_resources(ml: Workspace) -> None:
    identity = {"type": "UserAssigned", "userAssignedIdentities": {ml.identity: {}}}
    body = {**ml.body(primaryUserAssignedIdentity=ml.identity), "identity": identity}
    missing = "Microsoft.KeyVault/vaults/secrets/setSecret/action"
    ml.twin.judge_of_roles = lambda who, action, scope, data, _: who != ml.principal or action != missing
    answer = ml.put("", body)
    ml.arm.pass_time()

    failed = ml.arm.get(answer.headers["Location"].removeprefix(ml.twin.url).partition("?")[0], VERSION)
    assert (failed.status, failed.code) == (400, "BadRequest")
    assert missing in failed.body["error"]["message"]
    ml.twin.judge_of_roles = None
    assert ml.ok("", body)["properties"]["provisioningState"] == "Succeeded"


def test_a_workspaces_storage_account_stays(ml: Workspace) -> None:
    ml.ok("", ml.body())
    other = ml._resource("Microsoft.Storage/storageAccounts/other")

    ml.refused("", ml.body(storageAccount=other), "storageAccount of a workspace can't be changed")


def test_a_deleted_workspace_blocks_its_name_until_it_is_purged(ml: Workspace) -> None:
    ml.ok("", ml.body())
    assert ml.arm.delete(ml.id, VERSION).status == 202
    ml.arm.pass_time()

    assert ml.get().status == 404
    ml.refused("", ml.body(), "Soft-deleted workspace exists", 409)


def test_a_purged_workspace_leaves_its_name(ml: Workspace) -> None:
    ml.make()
    assert ml.arm.delete(ml.id, VERSION, forceToPurge="true").status == 202
    ml.arm.pass_time()

    ml.ok("", ml.body())
    assert ml.get("/models").body["value"] == []


def test_bodies_are_judged_by_azures_own_models(ml: Workspace) -> None:
    answer = ml.refused("", ml.body(workspaceId="mine", colour="red"), "The request is invalid")

    assert {detail["target"]: detail["message"] for detail in answer.body["error"]["details"]} == {
        "properties.workspaceId": "is read-only.",
        "properties.colour": "is not a known member.",
    }
    ml.refused("", ml.body(publicNetworkAccess="Sometimes"), "'Sometimes' is not one of")


def test_a_change_in_place_is_a_merge(ml: Workspace) -> None:
    before = ml.ok("", ml.body(description="first"))
    accepted = ml.arm.call("PATCH", ml.id, VERSION, {"tags": {"team": "a"}})
    assert (accepted.status, accepted.body) == (202, None)
    assert ("Location" in accepted.headers, "Azure-AsyncOperation" in accepted.headers) == (True, False)
    ml.arm.pass_time()

    after = ml.get().body
    assert after["tags"] == {"team": "a"}
    assert after["properties"] == before["properties"]


def test_a_clusters_machines_stay_as_they_are(ml: Workspace) -> None:
    ml.make()
    made = ml.ok("/computes/cpu", ml.cluster())
    assert made["properties"]["properties"]["nodeStateCounts"]["idleNodeCount"] == 0
    assert list(made["identity"]["userAssignedIdentities"]) == [ml.identity]

    assert ml.ok("/computes/cpu", ml.cluster(3))["properties"]["properties"]["scaleSettings"]["maxNodeCount"] == 3
    ml.refused("/computes/cpu", ml.cluster(vmSize="Standard_DS4_v2"), "vmSize of compute cpu can't be changed in place")
    ml.refused("/computes/cpu", ml.cluster(vmPriority="LowPriority"), "vmPriority of compute cpu")


def test_a_cluster_is_of_a_known_size_within_quota(ml: Workspace) -> None:
    ml.make()
    ml.refused("/computes/cpu", ml.cluster(vmSize="Standard_Nothing"), "VM size Standard_Nothing is not supported")
    ml.refused("/computes/cpu", ml.cluster(50), "exceeding quota limits of Standard DSv2 Family Cluster Dedicated")
    ml.refused("/computes/gpu", ml.cluster(1, vmSize="Standard_NC24ads_A100_v4"), "Maximum allowed: 0")
    for name in ("c", "1cpu", "cpu-2", "c" * 25):
        ml.refused(f"/computes/{name}", ml.cluster(), f"Resource name {name} is invalid")


def test_quotas_are_a_setting(tmp_path: Path) -> None:
    ml = Workspace(tmp_path, quotas={"Standard NCADSA100v4 Family Cluster Dedicated vCPUs": 24}).make()

    ml.ok("/computes/gpu", ml.cluster(1, vmSize="Standard_NC24ads_A100_v4"))


def test_locations_list_sizes_and_usages(ml: Workspace) -> None:
    ml.make()
    place = f"{{sub}}/providers/Microsoft.MachineLearningServices/locations/{LOCATION}"

    sizes = {each["name"]: each for each in ml.arm.get(f"{place}/vmSizes", VERSION).body["value"]}
    usages = {each["name"]["localizedValue"]: each for each in ml.arm.get(f"{place}/usages", VERSION).body["value"]}
    assert sizes["Standard_DS3_v2"]["vCPUs"] == 4
    assert usages["Standard DSv2 Family Cluster Dedicated vCPUs"]["limit"] == 100


def test_the_default_datastore_is_found(ml: Workspace) -> None:
    ml.make()

    def names(**query: str) -> set[str]:
        return {each["name"] for each in ml.get("/datastores", **query).body["value"]}

    assert ml.arm.call("PATCH", f"{ml.id}/datastores/store", VERSION, {}).status == 405
    assert names() > names(isDefault="true") == {"workspaceblobstore"}


def test_a_datastore_names_an_account_that_is_there(ml: Workspace) -> None:
    ml.make()
    body = ml.get("/datastores/store").body
    wanted = {"properties": {name: value for name, value in body["properties"].items() if name != "isDefault"}}

    missing = {"properties": {**wanted["properties"], "accountName": "nobody"}}
    ml.refused("/datastores/other", missing, "storage account nobody")
    other = {"properties": {**wanted["properties"], "containerName": "elsewhere"}}
    ml.refused("/datastores/store", other, "properties.containerName of datastore store can't be changed")


def test_versions_do_not_change(ml: Workspace) -> None:
    ml.make()
    model = {"modelType": "custom_model", "modelUri": "azureml://datastores/store/paths/models/a"}

    tagged = ml.ok("/models/chat/versions/1", {"properties": {**model, "tags": {"a": "b"}}})
    assert tagged["properties"]["tags"] == {"a": "b"}
    other = {**model, "modelUri": "azureml://datastores/store/paths/models/b"}
    ml.refused("/models/chat/versions/1", {"properties": other}, "modelUri of version 1 of models can't be changed")
    image = {"image": IMAGE.replace("serving", "other"), "inferenceConfig": {}}
    ml.refused("/environments/serving/versions/1", {"properties": image}, "properties.image of environments 1")


def test_a_version_makes_its_container_which_knows_the_latest(ml: Workspace) -> None:
    ml.make()
    model = {"modelType": "custom_model", "modelUri": "azureml://datastores/store/paths/models/b"}
    ml.ok("/models/chat/versions/2", {"properties": model})

    assert ml.get("/models/chat").body["properties"]["latestVersion"] == "2"
    newest = ml.get("/models/chat/versions", **{"$orderBy": "createdtime desc", "$top": "1"}).body["value"]
    assert [each["name"] for each in newest] == ["2"]
    one = ml.get("/models/chat/versions", version="1").body["value"]
    assert [each["name"] for each in one] == ["1"]
    assert ml.get("/models/chat/versions", **{"$top": "-1"}).code == "InvalidQueryParameter"
    ml.ok("/models/chat/versions/2", {"properties": {**model, "isArchived": True}})
    assert [each["name"] for each in ml.get("/models/chat/versions").body["value"]] == ["1"]


def test_a_models_path_is_in_a_datastore(ml: Workspace) -> None:
    ml.make()
    elsewhere = {"properties": {"modelUri": "azureml://datastores/none/paths/a"}}
    ml.refused("/models/chat/versions/9", elsewhere, "The datastore none was not found")
    ml.refused("/models/chat/versions/9", {"properties": {"modelUri": "models/a"}}, "is not a path of a datastore")
    ml.refused("/environments/x/versions/1", {"properties": {}}, "either an image or a build context")


@pytest.mark.parametrize("version", ["0", "01", "1.0.0", "3-0a1b2c3d", "v1", "99999999999"])
def test_versions_of_models_are_positive_integers(ml: Workspace, version: str) -> None:
    ml.make()
    model = {"modelType": "custom_model", "modelUri": "azureml://datastores/store/paths/models/a"}
    answer = ml.refused(f"/models/chat/versions/{version}", {"properties": model}, "must be a positive integer")
    assert [each["code"] for each in answer.body["error"]["details"]] == ["ModelVersionOutOfRange"]
    ml.ok(f"/environments/serving/versions/{version}", {"properties": {"image": IMAGE}})


def test_environments_are_archived_and_models_may_be_deleted(ml: Workspace) -> None:
    ml.make()
    for path in ("/environments/serving/versions/1", "/environments/serving"):
        answer = ml.arm.delete(ml.id + path, VERSION)
        ml.is_refused(answer, "is not supported: archive")
    put_away = {"properties": {"image": IMAGE, "inferenceConfig": ROUTES, "isArchived": True}}
    assert ml.ok("/environments/serving/versions/1", put_away)["properties"]["isArchived"] is True
    assert ml.arm.delete(f"{ml.id}/models/chat/versions/1", VERSION).status == 200
