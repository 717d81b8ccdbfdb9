"""Key vaults as Resource Manager takes, refuses, keeps and purges them. Their keys at work: tests/emulated."""

from pathlib import Path
from typing import Any

import pytest

from llmops_twins.azure.services import authorization, keyvault
from tests.support.clouds.azure import Arm, local_twin

VERSION = "2024-11-01"


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    return Arm(local_twin(tmp_path, authorization.install, keyvault.install))


def path(arm: Arm, name: str = "kit-vault", group: str = "rg") -> str:
    return f"{arm.group(group)}/providers/Microsoft.KeyVault/vaults/{name}"


def body(arm: Arm, **properties: Any) -> dict[str, Any]:
    sku = {"family": "A", "name": "standard"}
    common = {"tenantId": arm.twin.tenant, "sku": sku, "enableRbacAuthorization": True}
    return {"location": "westeurope", "properties": {**common, **properties}}


def made(arm: Arm, **properties: Any) -> str:
    vault = path(arm)
    assert arm.put(vault, VERSION, body(arm, **properties)).status == 200
    arm.pass_time()
    return vault


def test_a_vault_has_a_host_of_its_own(arm: Arm) -> None:
    properties = arm.get(made(arm), VERSION).body["properties"]
    assert properties["vaultUri"].startswith("https://localhost:")
    assert (properties["enableSoftDelete"], properties["softDeleteRetentionInDays"]) == (True, 90)


def test_what_azure_refuses_is_refused(arm: Arm) -> None:
    made(arm, enablePurgeProtection=True, softDeleteRetentionInDays=7)
    cases: list[tuple[str, dict[str, Any], str]] = [
        (path(arm, "1-vault"), body(arm), "VaultNameNotValid"),
        (path(arm, "two--hyphens"), body(arm), "VaultNameNotValid"),
        (path(arm, "v" * 25), body(arm), "VaultNameNotValid"),
        (path(arm, "kit-vault", "other"), body(arm), "VaultAlreadyExists"),
        (path(arm, "kit-other"), body(arm, tenantId="00000000-0000-0000-0000-000000000009"), "BadRequest"),
        (path(arm, "kit-other"), body(arm, enableRbacAuthorization=False), "BadRequest"),
        (path(arm, "kit-other"), body(arm, enablePurgeProtection=False), "BadRequest"),
        (path(arm, "kit-other"), body(arm, softDeleteRetentionInDays=6), "BadRequest"),
        (path(arm), body(arm, enablePurgeProtection=False), "BadRequest"),
        (path(arm), body(arm, softDeleteRetentionInDays=8), "BadRequest"),
    ]
    for each, given, code in cases:
        assert arm.put(each, VERSION, given).code == code
    assert arm.put(path(arm), VERSION, body(arm)).status == 200
    assert arm.get(path(arm), VERSION).body["properties"]["enablePurgeProtection"] is True


def test_a_deleted_vault_blocks_its_name_until_it_is_purged(arm: Arm) -> None:
    vault = made(arm)
    arm.put(f"{vault}/keys/signing", VERSION, {"properties": {"kty": "EC"}})
    arm.delete(vault, VERSION)
    arm.pass_time()
    assert arm.get(vault, VERSION).status == 404
    assert arm.put(path(arm, "kit-vault", "other"), VERSION, body(arm)).code == "ConflictError"
    (found,) = arm.get("{sub}/providers/Microsoft.KeyVault/deletedVaults", VERSION).body["value"]
    assert found["properties"]["vaultId"] == vault
    assert arm.get(found["id"], VERSION).status == 200
    assert arm.call("POST", f"{found['id']}/purge", VERSION).status == 200
    assert arm.get("{sub}/providers/Microsoft.KeyVault/deletedVaults", VERSION).body["value"] == []
    again = made(arm)
    assert arm.get(f"{again}/keys", VERSION).body["value"] == []


def test_a_protected_vault_is_not_purged(arm: Arm) -> None:
    vault = made(arm, enablePurgeProtection=True)
    arm.delete(vault, VERSION)
    arm.pass_time()
    (found,) = arm.get("{sub}/providers/Microsoft.KeyVault/deletedVaults", VERSION).body["value"]
    refused = arm.call("POST", f"{found['id']}/purge", VERSION)
    assert (refused.status, refused.code) == (405, "MethodNotAllowed")


def test_keys_are_made_once_by_arm_and_stay(arm: Arm) -> None:
    vault = made(arm)
    first = arm.put(f"{vault}/keys/signing", VERSION, {"properties": {"kty": "EC", "curveName": "P-256"}})
    assert first.status == 200
    assert first.body["properties"]["curveName"] == "P-256"
    again = arm.put(f"{vault}/keys/signing", VERSION, {"properties": {"kty": "EC", "curveName": "P-384"}})
    assert again.body["properties"] == first.body["properties"]
    for properties in (
        {"kty": "oct"},
        {"kty": "EC", "curveName": "P-1"},
        {"kty": "RSA", "keySize": 1024},
        {"kty": "EC-HSM"},
    ):
        assert arm.put(f"{vault}/keys/other", VERSION, {"properties": properties}).code == "BadParameter"
    assert arm.delete(f"{vault}/keys/signing", VERSION).status == 405


def test_a_secrets_value_is_never_shown_by_arm(arm: Arm) -> None:
    secret = f"{made(arm)}/secrets/token"
    assert arm.put(secret, VERSION, {"properties": {"value": "hidden"}}).status == 200
    assert "hidden" not in str(arm.get(secret, VERSION).body)
    first = arm.get(secret, VERSION).body["properties"]["secretUriWithVersion"]
    arm.put(secret, VERSION, {"properties": {"value": "other"}})
    assert arm.get(secret, VERSION).body["properties"]["secretUriWithVersion"] != first
