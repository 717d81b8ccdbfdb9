"""`audit: true`: audit logs are copied to where nobody can change them, and keys are watched."""

from typing import Any

import pytest

from tests.unit.infra.azure.conftest import PROVIDERS, Subscription
from tests.unit.infra.program import Declared

ACCOUNT = "azure-native:storage:StorageAccount"
DIAGNOSTICS = "azure-native:monitor:DiagnosticSetting"
RULE = "azure-native:monitor:ScheduledQueryRule"
VAULT = f"{PROVIDERS}/Microsoft.KeyVault/vaults/theirs"
DATA = f"{PROVIDERS}/Microsoft.Storage/storageAccounts/theirs"


@pytest.fixture(scope="module")
def declared(subscription: Subscription) -> Declared:
    return subscription.provision({"azure": {"audit": True, "log_retention_days": 90}})


def audited(declared: Declared) -> dict[str, dict[str, Any]]:
    """Diagnostic settings by their target."""
    return {str(each["resourceUri"]): each for each in declared.all_of(DIAGNOSTICS)}


def test_without_it_nothing_is_copied_and_no_key_is_watched(subscription: Subscription) -> None:
    declared = subscription.provision({})
    assert all("storageAccountId" not in each for each in declared.all_of(DIAGNOSTICS))
    assert len(declared.all_of(ACCOUNT)) == 2
    assert declared.all_of(RULE) == []


@pytest.mark.scorecard("audit-log")
def test_every_audit_log_is_copied_to_an_account_that_keeps_it_unchanged(declared: Declared) -> None:
    (archive,) = (each for each in declared.all_of(ACCOUNT) if "immutableStorageWithVersioning" in each)
    policy = archive["immutableStorageWithVersioning"]["immutabilityPolicy"]
    assert (policy["immutabilityPeriodSinceCreationInDays"], policy["allowProtectedAppendWrites"]) == (90, True)
    assert archive["allowSharedKeyAccess"] is False
    settings = audited(declared)
    kept = " (llmops down keeps it)"
    assert set(settings) == {
        *(f"{each}{kept}" for each in ("registry", "vault", "workspace")),
        *(f"{each}{kept}/blobServices/default" for each in ("storage", "scratch")),
    }
    for setting in settings.values():
        assert setting["storageAccountId"] == f"audit{kept}"
        assert setting["workspaceId"]


def test_the_copy_is_deleted_once_it_may_be(declared: Declared) -> None:
    policies = declared.all_of("azure-native:storage:ManagementPolicy")
    rules = [rule for policy in policies for rule in policy["policy"]["rules"] if rule["name"] == "logs"]
    (rule,) = rules
    assert rule["definition"]["filters"]["blobTypes"] == ["appendBlob"]
    assert rule["definition"]["actions"]["baseBlob"]["delete"]["daysAfterModificationGreaterThan"] == 90


@pytest.mark.scorecard("audit-log")
def test_signatures_and_changes_of_keys_notify(declared: Declared) -> None:
    rules = {what: declared.of(f"alert-audit-{what}") for what in ("signed", "keys")}
    queries = {what: rule["criteria"]["allOf"][0]["query"] for what, rule in rules.items()}
    assert "in ('KeySign')" in queries["signed"]
    assert "'KeyPurge'" in queries["keys"]
    for rule in rules.values():
        assert rule["actions"]["actionGroups"]
        assert rule["criteria"]["allOf"][0]["threshold"] == 0


def test_an_existing_vault_and_account_are_audited_too(subscription: Subscription) -> None:
    given = {"vault": VAULT, "storage_account": DATA}
    subscription.documents[VAULT] = {"properties": {"vaultUri": "https://theirs.vault.azure.net/"}}
    subscription.documents[DATA] = {
        "properties": {"primaryEndpoints": {"blob": "https://theirs.blob.core.windows.net/"}}
    }
    without = set(audited(subscription.provision({"azure": given})))
    added = set(audited(subscription.provision({"azure": {**given, "audit": True}}))) - without
    assert added == {VAULT.lstrip("/"), f"{DATA}/blobServices/default".lstrip("/")}
