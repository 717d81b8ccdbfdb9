"""Day 1 and day 2 of what a stack on Azure stands on, by plain `pulumi` commands on a twin."""

import json
import os
import signal
from typing import Any

import pytest

from tests.support.clouds.azure_twin import LOCATION, AzureStack, Subscription, make_stack
from tests.support.servers.serving import until

KEPT = " (llmops down keeps it)"
LOST = (f"workspace{KEPT}", "role-training-registry-acrpull", "diagnostics-vault", "work")
ACCOUNTS, GROUPS, VAULTS, WORKSPACES, REGISTRIES = "2024-01-01", "2024-03-01", "2024-11-01", "2025-12-01", "2023-07-01"


@pytest.fixture(scope="module")
def lasting(subscription: Subscription, tmp_path_factory: pytest.TempPathFactory) -> AzureStack:
    """A stack with a name of 40 characters that all tests live with, from its first update to its last."""
    return make_stack(subscription, tmp_path_factory.mktemp("lasting").resolve(), "d" * 40, deploy=False)


def test_what_a_killed_update_left_and_what_the_state_lost_is_taken_over(
    subscription: Subscription, lasting: AzureStack
) -> None:
    stack = lasting
    planned = stack.changes()
    assert planned[f"workspace{KEPT}"] == planned[f"store{KEPT}"] == "create"
    assert groups(subscription) == [], "a preview changes nothing"
    subscription.admin("PUT", "settings", {"pace": 60})  # a registry takes seconds: the update is killed meanwhile
    process = stack.start("up", "--yes", "--skip-preview")
    until(lambda: "Creating" in registries(subscription))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    subscription.admin("PUT", "settings", {"pace": 0.05})
    until(lambda: set(registries(subscription)) == {"Succeeded"})
    stack.pulumi("cancel", "--yes")
    assert "was left by an interrupted update" in stack.up()

    before = held(stack)
    lose(stack, *LOST)
    text = stack.up()
    assert all(f"{before[logical]} was left by an interrupted update" in text for logical in LOST)
    stack.up()  # what was taken over as it is, is brought to what is declared
    assert held(stack) == before
    stack.pulumi("refresh", "--yes")
    assert stack.changes() == {}
    outputs = stack.outputs()
    assert outputs["azure"]["twin"] is True
    assert outputs["signing"]["public_key"].startswith("-----BEGIN PUBLIC KEY-----")
    assert groups(subscription) == [outputs["azure"]["resource_group"]]


@pytest.mark.scorecard("audit-log")
def test_each_change_of_what_is_kept_is_made_in_place(subscription: Subscription, lasting: AzureStack) -> None:
    stack, somebody = lasting, "aaaaaaaa-0000-0000-0000-000000000000"  # nobody of the twin's directory
    stack.settings["azure"] |= {
        "log_retention_days": 30,
        "runs_days": 30,
        "audit": True,
        "budget": {"monthly_usd": 50, "emails": ["you@example.com"]},
        "network": {"mode": "managed"},
        "operators": [{"object_id": somebody, "kind": "Group"}],
    }
    planned = stack.changes()
    kept = {name.removesuffix(KEPT): op for name, op in planned.items() if name.endswith(KEPT)}
    changed = ("logs", "storage-lifecycle", "scratch-lifecycle", "workspace", "registry")
    assert kept == dict.fromkeys(changed, "update") | dict.fromkeys(("audit", "audit-lifecycle"), "create")
    assert planned["diagnostics-vault"] == planned["diagnostics-storage"] == "update"
    assert planned[f"role-operator-{somebody}-registry-acrpush"] == "create"
    assert planned["alerts"] == "update"
    assert planned["budget"] == "update"
    assert not [name for name, op in planned.items() if "replace" in op and not name.startswith("compute-")]
    del stack.settings["azure"]["operators"]
    stack.up()
    assert stack.changes() == {}
    account = held(stack)[f"audit{KEPT}"]
    lock_audit_logs(subscription, account)
    stack.pulumi("refresh", "--yes")
    assert stack.changes() == {}
    stack.settings["azure"]["log_retention_days"] = 60
    stack.up()
    policy = policy_of_audit_logs(subscription, account)["immutabilityPolicy"]
    assert (policy["state"], policy["immutabilityPeriodSinceCreationInDays"]) == ("Locked", 60)


def test_a_twins_stack_is_not_touched_from_azure_and_the_reverse(lasting: AzureStack) -> None:
    gone = {"ARM_CLOUD_METADATA_URL": ""}
    text = lasting.pulumi("up", "--yes", "--skip-preview", refused=True, **gone)
    assert "this stack lives on a twin, but Azure clients of this shell talk to Azure" in text
    text = lasting.pulumi("refresh", "--yes", refused=True, **gone)
    assert "this stack lives on a twin, but Azure clients of this shell talk to Azure" in text
    lasting.settings["azure"]["location"] = "northeurope"
    assert "would be deployed to the twin, northeurope" in lasting.up(refused=True)
    lasting.settings["azure"]["location"] = LOCATION


@pytest.mark.scorecard("destroy-refused")
def test_a_whole_life_leaves_nothing_but_what_azure_keeps(subscription: Subscription, lasting: AzureStack) -> None:
    """Last: the stack is destroyed, and made again of what Azure kept."""
    stack, outputs, made = lasting, lasting.outputs(), held(lasting)
    assert KEPT in stack.pulumi("destroy", "--yes", refused=True), "plain destroy names the fix"
    stack.pulumi("destroy", "--yes", "--exclude-protected", "--skip-preview")
    left = held(stack)
    assert "identity-training" not in left
    assert {name for name in made if name.endswith(KEPT)} <= set(left), "what is kept is there as it was"
    kept = {name: left[f"{name}{KEPT}"] for name in ("group", "vault", "workspace")}
    stack.pulumi("state", "unprotect", "--all", "--yes")
    stack.pulumi("destroy", "--yes", "--skip-preview")
    assert groups(subscription) == []
    assert {kept["vault"], kept["workspace"]} <= set(subscription.admin("GET", "status")["deleted"])
    refused = stack.up(refused=True)
    assert "was deleted, and its name is reserved until" in refused
    assert "az keyvault recover --name" in refused

    bring_back(subscription, kept)
    stack.up()
    stack.up()  # what was there is taken over as it is, then brought to the settings
    assert stack.changes() == {}
    key, before = stack.outputs()["signing"], outputs["signing"]
    assert key["public_key"] == before["public_key"], "the key came back with its vault"
    # A port that was free for a moment may have got another owner; Azure's vaults have names.
    assert key["private_key"].partition("/keys/")[2] == before["private_key"].partition("/keys/")[2]


def held(stack: AzureStack) -> dict[str, str]:
    """What the state holds: ids by logical names."""
    found = json.loads(stack.state())["deployment"]["resources"]
    return {each["urn"].rpartition("::")[2]: each["id"] for each in found if "id" in each and "custom" in each}


def lose(stack: AzureStack, *logical: str) -> None:
    """Take resources out of the state, and what depends on them."""
    found = json.loads(stack.state())["deployment"]["resources"]
    urns = {each["urn"].rpartition("::")[2]: each["urn"] for each in found}
    stack.pulumi("state", "unprotect", "--all", "--yes")
    for name in logical:
        if name in held(stack):  # it may have gone with another one
            stack.pulumi("state", "delete", urns[name], "--force", "--yes", "--target-dependents")


def lock_audit_logs(subscription: Subscription, account: str) -> None:
    """Lock the account's policy, as its owner may once."""
    found = policy_of_audit_logs(subscription, account)
    locked = {**found, "immutabilityPolicy": {**found["immutabilityPolicy"], "state": "Locked"}}
    with subscription.entered():
        client = subscription.arm()
        client.change("PATCH", account, ACCOUNTS, {"properties": {"immutableStorageWithVersioning": locked}})
        client.close()


def policy_of_audit_logs(subscription: Subscription, account: str) -> dict[str, Any]:
    """The account's immutability."""
    with subscription.entered():
        client = subscription.arm()
        found = client.send("GET", account, ACCOUNTS).json()["properties"]["immutableStorageWithVersioning"]
        client.close()
    return found


def registries(subscription: Subscription) -> list[str]:
    """In which state the subscription's registries are."""
    with subscription.entered():
        client = subscription.arm()
        found = client.send("GET", "{sub}/providers/Microsoft.ContainerRegistry/registries", REGISTRIES).json()["value"]
        client.close()
    return [each["properties"]["provisioningState"] for each in found]


def groups(subscription: Subscription) -> list[str]:
    """Names of the subscription's resource groups."""
    with subscription.entered():
        client = subscription.arm()
        found = client.send("GET", "{sub}/resourceGroups", GROUPS).json()["value"]
        client.close()
    return [group["name"] for group in found]


def bring_back(subscription: Subscription, ids: dict[str, str]) -> None:
    """What `az group create`, `az keyvault recover` and `az ml workspace delete --permanently-delete` do."""
    place = {"location": LOCATION}
    vault = {"tenantId": subscription.info.tenant, "sku": {"family": "A", "name": "standard"}, "createMode": "recover"}
    with subscription.entered():
        client = subscription.arm()
        client.change("PUT", ids["group"], GROUPS, place)
        client.change("PUT", ids["vault"], VAULTS, {**place, "properties": vault})
        client.change("DELETE", ids["workspace"], WORKSPACES, forceToPurge="true")
        client.close()
