"""What interrupted updates left on Azure is adopted; what is somebody else's, or keeps its name, is refused."""

from typing import Any

import pulumi
import pytest

from llmops_kit.clouds.azure.arm import ResourceManager
from llmops_kit.infra.targets.azure import resolve
from llmops_kit.infra.targets.azure.inventory import AzureEntry
from llmops_kit.infra.targets.azure.resources.context import AzureStack
from llmops_kit.infra.testing import resource_type
from tests.unit.infra.azure.conftest import COMPUTED, LOCATION, SUBSCRIPTION, Subscription, everything


def test_a_deleted_vault_that_keeps_its_name_is_told_before_anything_is_declared(subscription: Subscription) -> None:
    name = subscription.names.of("vault", 24, SUBSCRIPTION)
    at = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.KeyVault/locations/{LOCATION}/deletedVaults/{name}"
    subscription.documents[at] = {"properties": {"scheduledPurgeDate": "2027-02-01T00:00:00Z"}}
    try:
        with pytest.raises(pulumi.RunError) as refused:
            subscription.provision({})
    finally:
        del subscription.documents[at]
    assert f"vault {name} was deleted, and its name is reserved until 2027-02-01" in str(refused.value)
    assert f"az keyvault recover --name {name}" in str(refused.value)


def test_what_an_interrupted_update_left_is_taken_over(
    subscription: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {"llmops:project": "llmops", "llmops:stack": "demo"}
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{subscription.group}"
    workspace = subscription.id("Microsoft.MachineLearningServices/workspaces", subscription.names.of("workspace", 33))
    monkeypatch.delitem(subscription.documents, subscription.account, raising=False)
    monkeypatch.setitem(subscription.documents, group, {"tags": ours})
    monkeypatch.setitem(subscription.documents, workspace, {"tags": ours})
    key = "azure-native:resources:ResourceGroup::group (llmops down keeps it)"
    monkeypatch.setattr(resolve, "_keys_in_state", lambda *_: frozenset({key}))
    taken = spy_on_adoption(monkeypatch)
    subscription.provision({})
    assert taken == [{"import_": workspace, "ignore_changes": ["*"]}], (
        "the group is in the state, and the rest not there"
    )


def test_all_that_is_declared_is_taken_over_where_it_was_left(
    subscription: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the look-ups forget, an interrupted first update would leave for the plugin to refuse."""
    ours = {"llmops:project": "llmops", "llmops:stack": "demo"}
    wanted = everything(subscription)
    monkeypatch.setattr(resolve, "_keys_in_state", lambda *_: frozenset())
    call = subscription.call

    def left(_arm: ResourceManager, method: str, id_: str, api_version: str, **others: Any) -> dict[str, Any]:
        return call(method, id_, api_version, **others) or {"tags": ours, "properties": COMPUTED}

    monkeypatch.setattr(ResourceManager, "_call", left)
    taken = spy_on_adoption(monkeypatch)
    declared = subscription.provision(wanted)
    kinds = map(resource_type, declared.resources)
    native = [kind for kind in kinds if kind.startswith("azure-native:")]
    once = "azure-native:storage:BlobServiceProperties"  # exists with its account: the plugin takes it as it is
    assert len(taken) == len([kind for kind in native if kind != once])


def spy_on_adoption(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collects the options of what is taken over; mocks import nothing."""
    taken: list[dict[str, Any]] = []
    take_over = AzureStack.take_over

    def spy(self: AzureStack, entry: AzureEntry) -> dict[str, Any]:
        taken.extend([options] if (options := take_over(self, entry)) else [])
        return {}

    monkeypatch.setattr(AzureStack, "take_over", spy)
    return taken


def test_what_is_there_and_not_ours_is_refused(subscription: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{subscription.group}"
    monkeypatch.setitem(subscription.documents, group, {"tags": {"llmops:stack": "other"}})
    with pytest.raises(pulumi.RunError, match="exists already, and does not belong to this stack"):
        subscription.provision({})
