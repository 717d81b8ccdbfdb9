"""The other dynamic resources, and what all of them have in common."""

import json
import subprocess
import sys
from typing import Any

import dill
import pytest
from azure.core.exceptions import HttpResponseError

from llmops_kit.clouds.azure.arm import ResourceManager
from llmops_kit.clouds.azure.errors import explained
from llmops_kit.core.errors import KitError
from llmops_kit.infra.targets.azure.providers import (
    access,
    account,
    asset,
    budget,
    cluster_removal,
    live,
    preparation,
    scheduled_spec,
    traffic,
)
from tests.unit.infra.azure.arm import PLACE, WORKSPACE, Container, InProcessArm

PROVIDERS = [
    asset.AssetProvider,
    budget.BudgetProvider,
    cluster_removal.ClusterRemovalProvider,
    access.AccessProvider,
    account.AzureAccountProvider,
    preparation.AzurePreparationProvider,
    traffic.TrafficProvider,
    live.AzureLiveProvider,
    scheduled_spec.AzureScheduledSpecProvider,
]


def test_a_scheduled_spec_is_written_and_removed(store: Container) -> None:
    provider = scheduled_spec.AzureScheduledSpecProvider()
    props = {**PLACE, "container": "https://work", "key": "schedules/a/1/run.json", "content": "{}"}
    provider.create(props)
    changed = props | {"key": "schedules/a/2/run.json"}
    assert provider.update("", props, changed).outs == changed
    assert list(store.blobs) == ["schedules/a/2/run.json"]
    for _ in range(2):
        provider.delete("", props | {"key": "schedules/a/2/run.json"})
    assert not store.blobs


def test_a_cluster_is_deleted_with_its_machines(arm: InProcessArm, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, asked = f"{WORKSPACE}/computes/cpu", list[Any]()
    arm.documents[cluster] = {"properties": {}}

    def call(
        _arm: ResourceManager, method: str, id_: str, api_version: str, query: dict[str, str], **others: Any
    ) -> Any:
        asked.append((method, id_.rpartition("/")[2], query))
        return arm.call(method, id_, api_version, **others)

    monkeypatch.setattr(ResourceManager, "_call", call)
    provider, props = cluster_removal.ClusterRemovalProvider(), {**PLACE, "cluster": cluster}
    provider.create(props)
    provider.delete(cluster, props)
    provider.delete(cluster, props)
    assert asked == [("DELETE", "cpu", {"underlyingResourceAction": "Delete"})] * 2
    assert cluster not in arm.documents


BUDGET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Consumption/budgets/b"
MONTHLY = {**PLACE, "budget": BUDGET, "content": json.dumps({"amount": 100})}


def test_a_budget_is_changed_by_its_etag_and_its_months_go_on(arm: InProcessArm) -> None:
    provider = budget.BudgetProvider()
    assert (provider.create(MONTHLY).outs or {})["refused"] == ""
    began = arm.documents[BUDGET]["properties"]["timePeriod"]
    assert began["startDate"].endswith("-01T00:00:00Z")
    began["startDate"] = "2026-01-01T00:00:00Z"
    arm.documents[BUDGET] |= {"eTag": '"1"'}
    provider.update(BUDGET, MONTHLY, {**MONTHLY, "content": json.dumps({"amount": 200})})
    found = arm.documents[BUDGET]
    assert (found["eTag"], found["properties"]) == ('"1"', {"amount": 200, "timePeriod": began})
    assert provider.read(BUDGET, MONTHLY).id == BUDGET
    provider.delete(BUDGET, MONTHLY)
    assert not provider.read(BUDGET, MONTHLY).id


@pytest.mark.parametrize(("status", "ends"), [(400, False), (422, False), (403, True), (500, True)])
def test_a_subscription_without_budgets_goes_without_one(
    arm: InProcessArm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int, ends: bool
) -> None:
    def refuse(_arm: ResourceManager, method: str, *_: Any, **__: Any) -> None:
        if method == "PUT":
            with explained(BUDGET):
                error = HttpResponseError("is not associated with a valid offer type")
                error.status_code = status
                raise error

    monkeypatch.setattr(ResourceManager, "_call", refuse)
    provider = budget.BudgetProvider()
    if ends:
        with pytest.raises(KitError, match="offer type"):
            provider.create(MONTHLY)
        return
    outs = provider.create(MONTHLY).outs or {}
    assert "offer type" in outs["refused"]
    assert "nobody is notified of its costs" in capsys.readouterr().out
    assert provider.read(BUDGET, outs).id == BUDGET, "it is not asked for again until its settings change"


def test_a_version_is_archived_in_the_place_of_deleted_and_comes_back(arm: InProcessArm) -> None:
    provider, id_ = asset.AssetProvider(), f"{WORKSPACE}/environments/serving/versions/abc"
    content = {"image": "r.azurecr.io/serving@sha256:1", "inferenceConfig": {"scoringRoute": {"path": "/", "port": 80}}}
    props = {**PLACE, "asset": id_, "content": json.dumps(content)}
    assert provider.create(props).id == id_
    assert arm.documents[id_]["properties"] == {**content, "isArchived": False}
    assert provider.read(id_, props).id == id_

    arm.documents[id_]["properties"] |= {"provisioningState": "Succeeded", "environmentType": "UserCreated"}
    provider.delete(id_, props)
    assert arm.documents[id_]["properties"] == {**content, "isArchived": True}, "read-only members are not sent"
    assert not provider.read(id_, props).id
    provider.create(props)
    assert provider.read(id_, props).id == id_
    assert ("DELETE", "abc") not in arm.calls

    del arm.documents[id_]
    provider.delete(id_, props)
    assert id_ not in arm.documents, "it went with its workspace"


def test_providers_are_pickled_by_reference() -> None:
    texts = {provider.__name__: dill.dumps(provider()) for provider in PROVIDERS}
    assert {name: len(text) for name, text in texts.items() if len(text) >= 300} == {}
    heavy = {"azure.core", "pulumi_azure_native"}
    code = f"""
import dill, sys
for name, text in {texts!r}.items():
    dill.loads(text)
    print(name, sorted({heavy!r} & set(sys.modules)))
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert loaded.stdout.splitlines() == [f"{name} []" for name in texts]
