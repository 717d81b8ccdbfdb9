"""What the plugin does beyond each type's own: locations, lists that others fill, sets, faults on the way, drift."""

from typing import Any

import pytest

from llmops_twins.plugins.azure_native.checks import CREATE_FIRST, VERSION
from llmops_twins.plugins.plugin import Naming, PartlyMadeError, ProviderError
from llmops_twins.plugins.values import UNKNOWN
from twins.tests.unit.plugins.azure_native.tiny_arm import GROUP, TinyArm, provider, request

VAULT = "azure-native:keyvault:Vault"
NETWORK = "azure-native:network:VirtualNetwork"
NETWORK_INPUTS = {"resourceGroupName": "group", "virtualNetworkName": "v", "addressSpace": {"addressPrefixes": ["a"]}}
ACCOUNT = "azure-native:storage:StorageAccount"
WORKSPACE = "azure-native:machinelearningservices:Workspace"
ENDPOINT = "azure-native:machinelearningservices:OnlineEndpoint"
COMPUTE = "azure-native:machinelearningservices:Compute"
KEY = "azure-native:keyvault:Key"
ROLE = "azure-native:authorization:RoleAssignment"
ML = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/w"
IDENTITIES = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"


@pytest.fixture
def arm() -> TinyArm:
    return TinyArm()


def checked(arm: TinyArm, token: str, news: dict[str, Any], **session: Any) -> tuple[dict[str, Any], list[str]]:
    inputs, failures = provider().check(request(arm, token, **session), {}, news, Naming(b"seed"))
    return inputs, [failure.reason for failure in failures]


def diff(token: str, olds: dict[str, Any], news: dict[str, Any], state: dict[str, Any] | None = None) -> dict[str, Any]:
    found = provider().diff(request(TinyArm(), token), olds, state or {}, news)
    return {path: "replace" if change.replaces else change.kind for path, change in found.changes.items()}


def test_the_providers_location_comes_before_the_groups(arm: TinyArm) -> None:
    news = {"resourceGroupName": "group"}
    assert checked(arm, WORKSPACE, news)[0]["location"] == "westeurope"
    assert checked(arm, WORKSPACE, news, location="northeurope")[0]["location"] == "northeurope"
    assert checked(arm, WORKSPACE, {"resourceGroupName": UNKNOWN})[0]["location"] == UNKNOWN
    assert "location" not in checked(arm, WORKSPACE, {"resourceGroupName": "other"})[0]


def test_a_group_needs_a_location(arm: TinyArm) -> None:
    _, reasons = checked(arm, "azure-native:resources:ResourceGroup", {})
    way_out = "Either set it explicitly or configure it with 'pulumi config set azure-native:location <value>'."
    assert reasons == [f"missing required property 'location'. {way_out}"]


def test_a_groups_location_is_asked_for_once(arm: TinyArm) -> None:
    call = request(arm, WORKSPACE)
    for _ in range(2):
        provider().check(call, {}, {"resourceGroupName": "group"}, Naming(b"seed"))
    assert arm.methods() == ["GET"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"sku": "Standard_LRS"}, "'sku' should be of type 'object' but got a string"),
        ({"sku": {}}, "missing required property 'sku.name'"),
        ({"kind": 7}, "'kind' should be of type 'string' but got a number"),
        ({"kind": ["StorageV2"]}, "'kind' should be of type 'string' but got an array"),
        ({"isHnsEnabled": "yes"}, "'isHnsEnabled' should be of type 'boolean' but got a string"),
        ({"keyPolicy": {"keyExpirationPeriodInDays": 1.5}}, "must be an integer but got 1.500000"),
        (
            {"networkRuleSet": {"defaultAction": "Deny", "ipRules": [{}]}},
            "missing required property 'networkRuleSet.ipRules[0].iPAddressOrRange'",
        ),
    ],
)
def test_other_kinds_of_values_are_refused(arm: TinyArm, value: dict[str, Any], reason: str) -> None:
    news = {"resourceGroupName": "group", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
    assert checked(arm, ACCOUNT, news)[1] == []
    reasons = checked(arm, ACCOUNT, news | value)[1]
    assert len(reasons) == 1
    assert reason in reasons[0]


@pytest.mark.parametrize(
    ("mode", "proposed", "token", "name", "first"),
    [
        ("propose", "mine", ACCOUNT, "mine", True),
        ("propose", "mine", "azure-native:storage:BlobContainer", "mine", True),
        ("enforce", "mine", ROLE, "mine", True),
        ("disable", "", "azure-native:storage:BlobContainer", None, None),
    ],
)
def test_the_engines_names_are_taken(
    arm: TinyArm, mode: str, proposed: str, token: str, name: str | None, first: bool | None
) -> None:
    inputs, _ = provider().check(request(arm, token), {}, {}, Naming(b"seed", proposed, mode))
    named = {ACCOUNT: "accountName", ROLE: "roleAssignmentName"}.get(token, "containerName")
    assert (inputs.get(named), inputs.get(CREATE_FIRST)) == (name, first)


def test_a_location_and_a_group_are_the_same_in_other_cases() -> None:
    olds = {"resourceGroupName": "Group", "location": "West Europe", "accountName": "a"}
    assert diff(ACCOUNT, olds, olds | {"resourceGroupName": "group", "location": "westeurope"}) == {}
    assert diff(ACCOUNT, olds, olds | {"location": "northeurope"}) == {"location": "replace"}


def test_nested_parts_are_changed_in_place() -> None:
    olds = {"endpointName": "e", "properties": {"authMode": "Key", "tags": {"a": "1"}}}
    news = {"endpointName": "e", "properties": {"authMode": "AADToken"}}
    assert diff(ENDPOINT, olds, news) == {"properties.authMode": "update", "properties.tags": "delete"}
    assert diff(ENDPOINT, olds, olds | {"endpointName": "f"}) == {"endpointName": "replace"}
    endpoint = "azure-native:network:PrivateEndpoint"
    assert diff(endpoint, {"subnet": {"id": "a"}}, {"subnet": {"id": "b"}}) == {"subnet.id": "replace"}


def test_what_the_cloud_says_already_replaces_nothing() -> None:
    assert diff(ROLE, {}, {"principalId": "p"}, {"principalId": "p"}) == {"principalId": "add"}
    assert diff(ROLE, {}, {"principalId": "q"}, {"principalId": "p"}) == {"principalId": "replace"}
    assert diff(ROLE, {}, {"principalType": "User"}) == {}


def test_another_api_version_is_an_update() -> None:
    assert diff(ACCOUNT, {}, {VERSION: "2025-01-01"}, {VERSION: "2024-01-01"}) == {VERSION: "update"}


@pytest.mark.parametrize("first", [True, False])
def test_names_made_at_random_let_the_new_one_come_first(first: bool) -> None:
    olds = {"accountName": "a", "location": "a", **({CREATE_FIRST: True} if first else {})}
    found = provider().diff(request(TinyArm(), ACCOUNT), olds, {}, olds | {"location": "b"})
    assert found.delete_before_replace is not first


def test_what_can_not_be_looked_at_is_not_made(arm: TinyArm) -> None:
    arm.say("GET", 403, {"error": {"code": "AuthorizationFailed", "message": "no"}})
    with pytest.raises(ProviderError, match=r"^cannot check existence of resource '.*/v': Status=403 .*Authoriz"):
        provider().create(request(arm, NETWORK), NETWORK_INPUTS)
    assert arm.methods() == ["GET"]


@pytest.mark.parametrize("answer", [(204, None), (200, {})])
def test_what_answers_with_nothing_is_made(arm: TinyArm, answer: tuple[int, Any]) -> None:
    arm.say("GET", *answer)
    provider().create(request(arm, NETWORK), NETWORK_INPUTS)
    assert arm.methods()[:2] == ["GET", "PUT"]


def test_lists_that_other_resources_fill_are_kept(arm: TinyArm) -> None:
    plugin, call, inputs = provider(), request(arm, NETWORK), NETWORK_INPUTS
    identity, state = plugin.create(call, inputs)
    assert arm.kept[identity]["properties"]["subnets"] == []
    arm.kept[identity]["properties"]["subnets"] = [{"name": "s", "properties": {"addressPrefix": "a"}}]
    read = plugin.read(call, identity, state, inputs)
    assert read
    assert read[1]["subnets"] == [{"name": "s", "addressPrefix": "a"}]
    assert read[2] == inputs
    plugin.update(call, identity, read[1], inputs, inputs | {"tags": {"a": "1"}})
    assert arm.kept[identity]["properties"]["subnets"] == [{"name": "s", "properties": {"addressPrefix": "a"}}]
    plugin.update(call, identity, read[1], inputs, inputs | {"subnets": []})
    assert arm.kept[identity]["properties"]["subnets"] == []


def test_identities_are_names_going_in_and_objects_coming_out(arm: TinyArm) -> None:
    plugin, call = provider(), request(arm, WORKSPACE)
    one, two = f"{IDENTITIES}/one", f"{IDENTITIES}/two"
    identity = {"type": "UserAssigned", "userAssignedIdentities": [one, two]}
    inputs = {"resourceGroupName": "group", "workspaceName": "w", "identity": identity}
    made, state = plugin.create(call, inputs)
    assert arm.kept[made]["identity"]["userAssignedIdentities"] == {one: {}, two: {}}
    assert state["identity"]["userAssignedIdentities"] == {one: {}, two: {}}
    assert plugin.read(call, made, state, inputs) == (made, state, inputs)
    arm.methods()
    news = inputs | {"identity": identity | {"userAssignedIdentities": [two]}}
    plugin.update(call, made, state, inputs, news)
    asked = arm.asked[0]
    assert (asked.method, asked.body["identity"]["userAssignedIdentities"]) == ("PATCH", {two: {}, one: None})
    preview = plugin.preview(call, inputs, {}, {})
    assert preview["identity"]["userAssignedIdentities"] == UNKNOWN
    assert preview["identity"]["principalId"] == UNKNOWN


def test_a_removed_rule_set_is_put_back_to_its_default(arm: TinyArm) -> None:
    plugin, call = provider(), request(arm, ACCOUNT)
    inputs = {
        "resourceGroupName": "group",
        "accountName": "a",
        "kind": "StorageV2",
        "sku": {"name": "Standard_LRS"},
        "networkRuleSet": {"defaultAction": "Deny", "ipRules": [{"iPAddressOrRange": "1.2.3.4"}]},
    }
    made, state = plugin.create(call, inputs)
    assert arm.kept[made]["properties"]["networkAcls"]["ipRules"] == [{"value": "1.2.3.4"}]
    assert state["networkRuleSet"]["ipRules"] == [{"iPAddressOrRange": "1.2.3.4"}]
    without = {n: v for n, v in inputs.items() if n != "networkRuleSet"}
    plugin.update(call, made, state, inputs, without)
    assert arm.kept[made]["properties"]["networkAcls"]["defaultAction"] == "Allow"


def test_what_was_accepted_and_failed_is_recorded(arm: TinyArm) -> None:
    plugin, call = provider(), request(arm, ENDPOINT)
    inputs = {
        "resourceGroupName": "group",
        "workspaceName": "w",
        "endpointName": "e",
        "location": "westeurope",
        "properties": {"authMode": "Key"},
    }
    arm.say("GET", 404)
    arm.say("PUT", 201, {"id": f"{ML}/onlineEndpoints/e"}, azure_asyncoperation="https://localhost:1/operations/1")
    arm.say("GET", 200, {"status": "Failed", "error": {"code": "Quota", "message": "no cores"}})
    arm.say("GET", 200, {"name": "e", "properties": {"provisioningState": "Failed", "authMode": "Key"}})
    with pytest.raises(PartlyMadeError, match=r'^Status=200 Code="Quota" Message="no cores"$') as failed:
        plugin.create(call, inputs)
    assert failed.value.id == f"{ML}/onlineEndpoints/e"
    assert failed.value.outputs["properties"]["provisioningState"] == "Failed"
    arm.say("GET", 404)
    arm.say("PUT", 400, {"error": {"code": "BadRequest", "message": "no"}})
    with pytest.raises(ProviderError, match=r'^Status=400 Code="BadRequest" Message="no"$') as refused:
        plugin.create(call, inputs)
    assert not isinstance(refused.value, PartlyMadeError)


def test_drift_comes_into_the_inputs_and_defaults_do_not(arm: TinyArm) -> None:
    plugin, call = provider(), request(arm, ENDPOINT)
    inputs = {
        "resourceGroupName": "group",
        "workspaceName": "w",
        "endpointName": "e",
        "location": "westeurope",
        "properties": {"authMode": "Key", "keys": {"primaryKey": "written only"}},
    }
    made, state = plugin.create(call, inputs)
    arm.kept[made]["properties"] = {"authMode": "AADToken", "traffic": {"blue": 100}, "publicNetworkAccess": "Enabled"}
    read = plugin.read(call, made, state, inputs)
    assert read
    assert read[2]["properties"] == {
        "authMode": "AADToken",
        "keys": {"primaryKey": "written only"},
        "traffic": {"blue": 100},
        "publicNetworkAccess": "Enabled",
    }
    assert plugin.read(call, made, read[1], inputs) == (made, read[1], inputs)


def test_options_of_the_request_go_into_the_url(arm: TinyArm) -> None:
    inputs = {
        "resourceGroupName": "group",
        "workspaceName": "w",
        "name": "store",
        "skipValidation": True,
        "properties": {"datastoreType": "AzureBlob", "credentials": {"credentialsType": "None"}},
    }
    provider().create(request(arm, "azure-native:machinelearningservices:Datastore"), inputs)
    put = next(each for each in arm.asked if each.method == "PUT")
    assert put.query == {"api-version": "2025-12-01", "skipValidation": "true"}
    assert "skipValidation" not in put.body


def test_a_scope_is_put_in_as_it_is(arm: TinyArm) -> None:
    inputs = {"scope": f"/{GROUP}/", "roleAssignmentName": "r", "principalId": "p", "roleDefinitionId": "d"}
    made, _ = provider().create(request(arm, ROLE), inputs)
    assert made == f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/r"
    assert "scope" not in arm.kept[made]["properties"]


def test_a_delegated_role_is_found_with_its_tenant(arm: TinyArm) -> None:
    inputs = {
        "scope": GROUP,
        "roleAssignmentName": "r",
        "principalId": "p",
        "roleDefinitionId": "d",
        "delegatedManagedIdentityResourceId": "i",
    }
    provider().create(request(arm, ROLE, tenant="mine"), inputs)
    assert arm.asked[-1].query == {"api-version": "2022-04-01", "tenantId": "mine"}


def test_a_key_is_deleted_in_its_vault(arm: TinyArm) -> None:
    vault = f"{GROUP}/providers/Microsoft.KeyVault/vaults/v"
    arm.kept[vault] = {"properties": {"vaultUri": "https://localhost:2/"}}
    provider().delete(request(arm, KEY), f"{vault}/keys/signing", {})
    assert [(a.method, a.path) for a in arm.asked] == [("GET", vault), ("DELETE", "/keys/signing")]


def test_a_singleton_is_put_back_instead_of_deleted(arm: TinyArm) -> None:
    path = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/a/blobServices/default"
    arm.kept[path] = {"properties": {"isVersioningEnabled": True}}
    provider().delete(request(arm, "azure-native:storage:BlobServiceProperties"), path, {})
    assert [(a.method, a.body) for a in arm.asked] == [("PUT", {})]


def test_ids_of_parts_of_the_resource_itself_are_completed(arm: TinyArm) -> None:
    inputs = {
        "resourceGroupName": "group",
        "virtualNetworkName": "v",
        "subnets": [{"name": "s", "natGateway": {"id": "$self/gateways/g"}}],
    }
    made, _ = provider().create(request(arm, NETWORK), inputs)
    gateway = arm.kept[made]["properties"]["subnets"][0]["properties"]["natGateway"]
    assert gateway == {"id": f"{made}/gateways/g"}


def test_what_exists_is_imported(arm: TinyArm) -> None:
    path = f"{ML}/computes/cpu"
    inner = {"vmSize": "Standard_DS3_v2", "allocationState": "Steady"}
    properties = {"computeType": "AmlCompute", "provisioningState": "Succeeded", "properties": inner}
    arm.kept[path] = {"id": path, "name": "cpu", "location": "westeurope", "properties": properties}
    read = provider().read(request(arm, COMPUTE), path, {}, {})
    assert read
    assert read[2] == {
        "resourceGroupName": "group",
        "workspaceName": "w",
        "computeName": "cpu",
        "location": "westeurope",
        "properties": {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_DS3_v2"}},
    }
    assert read[1]["properties"]["properties"]["allocationState"] == "Steady"


def test_what_is_not_known_is_not_made(arm: TinyArm) -> None:
    with pytest.raises(ProviderError, match="'resourceGroupName' is unknown"):
        provider().create(request(arm, WORKSPACE), {"resourceGroupName": UNKNOWN, "workspaceName": "w"})
    with pytest.raises(ProviderError, match="does not know the type azure-native:sql:Server"):
        provider().create(request(arm, "azure-native:sql:Server"), {})
