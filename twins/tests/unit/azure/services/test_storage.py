"""Storage accounts as Resource Manager takes, refuses and shows them. Their blobs: tests/emulated."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llmops_twins.azure.blobs import blobs
from llmops_twins.azure.entra import principals
from llmops_twins.azure.services import authorization, storage
from tests.support.clouds.azure import Arm, local_twin

VERSION = "2024-01-01"
BODY: dict[str, Any] = {
    "location": "westeurope",
    "sku": {"name": "Standard_LRS"},
    "kind": "StorageV2",
    "properties": {},
}


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    return Arm(local_twin(tmp_path, authorization.install, storage.install))


def path(arm: Arm, name: str = "kitdata", group: str = "rg") -> str:
    return f"{arm.group(group)}/providers/Microsoft.Storage/storageAccounts/{name}"


def made(arm: Arm, **properties: Any) -> str:
    """A storage account's id."""
    account = path(arm)
    assert arm.put(account, VERSION, {**BODY, "properties": properties}).status == 202
    arm.pass_time()
    return account


def test_an_account_has_a_host_of_its_own_and_keeps_its_settings(arm: Arm) -> None:
    account = made(arm, allowSharedKeyAccess=False, minimumTlsVersion="TLS1_2")
    found = arm.get(account, VERSION).body
    assert found["properties"]["primaryEndpoints"]["blob"].startswith("https://localhost:")
    assert found["properties"]["provisioningState"] == "Succeeded"
    assert found["properties"]["allowSharedKeyAccess"] is False
    assert found["sku"] == {"name": "Standard_LRS", "tier": "Standard"}
    assert not [name for name in found if name.startswith("_")]
    before = found["properties"]["primaryEndpoints"]
    assert arm.put(account, VERSION, {**BODY, "tags": {"a": "b"}}).status == 200
    after = arm.get(account, VERSION).body
    assert after["properties"]["primaryEndpoints"] == before
    assert (after["properties"]["allowSharedKeyAccess"], after["tags"]) == (False, {"a": "b"})
    patched = arm.call("PATCH", account, VERSION, {"properties": {"allowBlobPublicAccess": False}, "tags": {"c": "d"}})
    assert (patched.status, patched.body["tags"]) == (200, {"c": "d"})
    assert patched.body["properties"]["provisioningState"] == "Succeeded"
    assert not {"Azure-AsyncOperation", "Location"} & set(patched.headers)


def test_a_new_account_is_asked_for_by_its_location_and_refuses_writes_meanwhile(arm: Arm) -> None:
    account = path(arm)
    accepted = arm.put(account, VERSION, BODY)
    assert (accepted.status, accepted.body) == (202, None)
    assert "Azure-AsyncOperation" not in accepted.headers
    location = accepted.headers["Location"].removeprefix(arm.twin.url).partition("?")[0]
    assert (arm.get(location, VERSION).status, arm.get(location, VERSION).body) == (202, None)
    for method in ("PUT", "PATCH", "DELETE"):
        refused = arm.call(method, account, VERSION, BODY)
        assert (refused.status, refused.code) == (409, "StorageAccountOperationInProgress")
    arm.pass_time()
    assert arm.get(location, VERSION).body["id"] == account


def test_of_two_writes_at_once_the_second_is_refused(tmp_path: Path) -> None:
    pace = 150.0  # what takes two seconds on Azure takes one
    arm = Arm(local_twin(tmp_path, authorization.install, storage.install, pace=pace))
    account = made(arm)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(arm.call, "PATCH", account, VERSION, {"tags": {"a": "1"}})
        while not first.done() and (arm.twin.find(account) or {}).get("tags") != {"a": "1"}:
            time.sleep(0.001)
        second = arm.call("PATCH", account, VERSION, {"tags": {"a": "2"}})
        assert (second.status, second.code) == (409, "StorageAccountOperationInProgress")
        assert first.result().status == 200
    assert arm.call("PATCH", account, VERSION, {"tags": {"a": "2"}}).body["tags"] == {"a": "2"}


def test_what_azure_refuses_is_refused(arm: Arm) -> None:
    made(arm)
    group = path(arm, "")
    cases: list[tuple[str, Any, str]] = [
        (f"{group}Kit-Data", BODY, "AccountNameInvalid"),
        (path(arm, "kitdata", "other"), BODY, "StorageAccountAlreadyTaken"),
        (
            f"{group}kitother",
            {**BODY, "properties": {"allowSharedKeyAccess": "no"}},
            "InvalidValuesForRequestParameters",
        ),
        (f"{group}kitother", {k: v for k, v in BODY.items() if k != "location"}, "LocationRequired"),
        (f"{group}kitdata", {**BODY, "kind": "BlobStorage"}, "AccountPropertyCannotBeUpdated"),
        (f"{group}kitdata", {**BODY, "properties": {"isHnsEnabled": True}}, "AccountPropertyCannotBeUpdated"),
        (f"{group}kitdata", {**BODY, "location": "eastus"}, "InvalidResourceLocation"),
    ]
    for each, body, code in cases:
        assert arm.put(each, VERSION, body).code == code


ACLS = "networkAcls"


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"sku": {"name": "Cheap"}}, "InvalidValuesForRequestParameters", "invalid: sku."),
        ({"kind": "Files"}, "InvalidValuesForRequestParameters", "invalid: kind."),
        ({"kind": "BlockBlobStorage"}, "InvalidValuesForRequestParameters", "invalid: kind, sku."),
        ({"kind": "BlobStorage"}, "InvalidValuesForRequestParameters", "invalid: accessTier."),
        ({"kind": "Storage", "accessTier": "Hot"}, "InvalidRequestPropertyValue", "'Hot' is not allowed"),
        ({"accessTier": "Archive"}, "InvalidRequestPropertyValue", "'Archive' is not allowed"),
        ({"accessTier": "Premium"}, "InvalidRequestPropertyValue", "'Premium' is not allowed"),
        ({"minimumTlsVersion": "1.2"}, "InvalidValuesForRequestParameters", "invalid: minimumTlsVersion."),
        ({"publicNetworkAccess": "No"}, "InvalidValuesForRequestParameters", "invalid: publicNetworkAccess."),
        (
            {ACLS: {"defaultAction": "Refuse"}},
            "InvalidValuesForRequestParameters",
            "invalid: networkAcls.defaultAction.",
        ),
        ({ACLS: {"bypass": "Logging, All"}}, "InvalidValuesForRequestParameters", "invalid: networkAcls.bypass."),
        (
            {ACLS: {"defaultAction": "Deny", "ipRules": [{"value": "1.2.3.4"}, {"value": "1.2.3.4"}]}},
            "InvalidValuesForRequestParameters",
            "invalid: networkAcls.ipRules[*].value(unique).",
        ),
        *(
            (
                {ACLS: {"defaultAction": "Deny", "ipRules": [{"value": wrong}]}},
                "InvalidValuesForRequestParameters",
                "invalid: networkAcls.ipRule[*].value.",
            )
            for wrong in ("10.0.0.4", "1.2.3.4/31", "somewhere")
        ),
    ],
)
def test_values_that_azure_does_not_take(arm: Arm, change: dict[str, Any], code: str, words: str) -> None:
    outside = {name: value for name, value in change.items() if name in ("sku", "kind")}
    properties = {name: value for name, value in change.items() if name not in outside}
    refused = arm.put(path(arm), VERSION, {**BODY, **outside, "properties": properties})
    assert (refused.status, refused.code) == (400, code)
    assert words in refused.body["error"]["message"]


def test_values_that_azure_takes(arm: Arm) -> None:
    account = made(
        arm,
        minimumTlsVersion="TLS1_3",
        networkAcls={"bypass": "Logging, azureservices", "defaultAction": "Deny", "ipRules": [{"value": "1.2.3.0/24"}]},
    )
    assert arm.get(account, VERSION).body["properties"]["accessTier"] == "Hot"
    cooler = arm.call("PATCH", account, VERSION, {"properties": {"accessTier": "Cool"}})
    assert cooler.body["properties"]["accessTier"] == "Cool"
    refused = arm.call("PATCH", account, VERSION, {"properties": {"minimumTlsVersion": "1.2"}})
    assert refused.code == "InvalidValuesForRequestParameters"
    old = arm.put(path(arm, "kitold"), VERSION, {**BODY, "kind": "Storage"})
    arm.pass_time()
    assert old.status == 202
    assert "accessTier" not in arm.get(path(arm, "kitold"), VERSION).body["properties"]


def test_keys_are_listed(arm: Arm) -> None:
    account = made(arm)
    before = arm.call("POST", f"{account}/listKeys", VERSION, {}).body["keys"]
    assert [each["keyName"] for each in before] == ["key1", "key2"]
    for action in (f"{account}/regenerateKey", "{sub}/providers/Microsoft.Storage/checkNameAvailability"):
        assert arm.call("POST", action, VERSION, {}).code == "InvalidResourceType", "not on this twin"


def test_a_reader_lists_no_keys(arm: Arm) -> None:
    account = made(arm)
    reader = Arm(arm.twin, principals.add(arm.twin, "reader", "application"))
    authorization.assign(arm.twin, reader.caller.object_id, "Reader", account)
    assert reader.get(account, VERSION).status == 200
    assert reader.call("POST", f"{account}/listKeys", VERSION, {}).code == "AuthorizationFailed"


def test_settings_of_blobs_are_there_with_the_account_and_stay(arm: Arm) -> None:
    account = made(arm)
    service = f"{account}/blobServices/default"
    assert arm.get(service, VERSION).body["properties"]["deleteRetentionPolicy"]["enabled"] is False
    wanted = {"deleteRetentionPolicy": {"enabled": True, "days": 7}, "isVersioningEnabled": True}
    assert arm.put(service, VERSION, {"properties": wanted}).status == 200
    assert arm.get(service, VERSION).body["properties"]["isVersioningEnabled"] is True
    wrong = {"deleteRetentionPolicy": {"enabled": True, "days": 0}}
    assert arm.put(service, VERSION, {"properties": wrong}).code == "InvalidValuesForRequestParameters"
    assert arm.delete(service, VERSION).status == 405


def test_containers_are_private_and_lie_in_an_account(arm: Arm) -> None:
    account = made(arm)
    containers = f"{account}/blobServices/default/containers"
    assert arm.put(f"{containers}/store", VERSION, {}).status == 201
    assert arm.put(f"{containers}/store", VERSION, {"properties": {"metadata": {"a": "b"}}}).status == 200
    assert arm.get(f"{containers}/store", VERSION).body["properties"]["publicAccess"] == "None"
    assert [each["name"] for each in arm.get(containers, VERSION).body["value"]] == ["store"]
    assert [each["name"] for each in arm.get(containers, VERSION, **{"$filter": "st"}).body["value"]] == ["store"]
    assert arm.get(containers, VERSION, **{"$filter": "tore"}).body["value"] == []
    refused = arm.put(f"{containers}/open", VERSION, {"properties": {"publicAccess": "Blob"}})
    assert (refused.status, refused.code) == (409, "PublicAccessNotPermitted")
    assert arm.put(f"{containers}/Wrong", VERSION, {}).status == 400
    other = path(arm, "nowhere")
    assert arm.put(f"{other}/blobServices/default/containers/x", VERSION, {}).code == "ParentResourceNotFound"


def test_a_policy_needs_whole_rules(arm: Arm) -> None:
    policy = f"{made(arm)}/managementPolicies/default"
    actions = {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": 30}}}
    rule = {"name": "old", "type": "Lifecycle", "enabled": True, "definition": {"actions": actions}}
    assert arm.put(policy, VERSION, {"properties": {"policy": {"rules": [rule]}}}).status in (200, 201)
    assert arm.put(policy, VERSION, {"properties": {"policy": {"rules": [rule, rule]}}}).code == "DuplicateRuleName"
    assert arm.put(policy, VERSION, {"properties": {"policy": {"rules": []}}}).code == "InvalidRequestPropertyValue"
    assert arm.delete(policy, VERSION).status == 200


def test_a_deleted_account_has_nothing_when_it_is_made_again(arm: Arm) -> None:
    account = made(arm)
    arm.put(f"{account}/blobServices/default/containers/store", VERSION, {})
    document = arm.twin.find(account)
    assert document
    arm.delete(account, VERSION)
    arm.pass_time()
    assert [document[blobs.SLOT], "store"] in arm.twin.state["blob_garbage"]
    assert blobs.account_named(arm.twin, "kitdata") is None
    assert arm.get(f"{made(arm)}/blobServices/default/containers", VERSION).body["value"] == []
