"""What a sweep makes of what a workspace holds, as Azure Machine Learning describes it."""

from collections.abc import Iterator
from typing import Any

import pytest

from llmops_kit.cli.machines.prices import Prices
from llmops_kit.cli.platforms.azure.sweep.look import AzureLook
from llmops_kit.cli.platforms.azure.sweep.workspace import things
from llmops_kit.cli.platforms.sweep import RUN, Thing

WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
ENDPOINT, CLUSTER = f"{WORKSPACE}/onlineEndpoints/e", f"{WORKSPACE}/computes/spot"
OURS = {"llmops:project": "llmops", "llmops:stack": "dev"}
STAMP = {"source": "list", "date": "2026-11-20"}
TABLE = {
    "regions": {
        "westeurope": {
            "hosting": {**STAMP, "prices": {"Standard_DS3_v2": 0.3}},
            "spot": {**STAMP, "prices": {"Standard_DS3_v2": 0.1}},
        }
    }
}


class Collections:
    """Answers lists of what a test gives, and nothing elsewhere."""

    def __init__(self, given: dict[str, list[dict[str, Any]]]) -> None:
        self._given = given

    def list(self, id_: str, api_version: str = "", **query: str) -> Iterator[dict[str, Any]]:
        yield from self._given.get(id_, [])


def swept(kind: str = "Default", **collections: list[dict[str, Any]]) -> dict[str, Thing]:
    """Things by their names; `collections` has paths below the workspace, with _ for /."""
    given = {f"{WORKSPACE}/{path.replace('_', '/')}": found for path, found in collections.items()}
    arm: Any = Collections(given)
    line = {"id": WORKSPACE, "type": "Microsoft.MachineLearningServices/workspaces", "name": "w", "kind": kind}
    look = AzureLook(arm, "s", "llmops", [line], {"westeurope": Prices("westeurope", TABLE)})
    return {thing.name: thing for thing in things(look)}


def deployment(name: str, tags: dict[str, str]) -> dict[str, Any]:
    properties = {"instanceType": "Standard_DS3_v2", "model": f"{WORKSPACE}/models/m/versions/2"}
    id_ = f"{ENDPOINT}/deployments/{name}"
    sku = {"capacity": 2}
    return {"id": id_, "name": name, "tags": tags, "location": "westeurope", "sku": sku, "properties": properties}


def endpoint(traffic: dict[str, int], mirrored: dict[str, int] | None = None) -> dict[str, Any]:
    return {"id": ENDPOINT, "tags": OURS, "properties": {"traffic": traffic, "mirrorTraffic": mirrored or {}}}


@pytest.mark.parametrize(
    ("traffic", "mirrored", "used"),
    [({"a": 100}, {}, {"w/e/a"}), ({"a": 100, "b": 0}, {"b": 5}, {"w/e/a", "w/e/b"}), ({}, {}, set())],
)
def test_a_deployment_that_requests_come_to_is_used_by_its_endpoint(
    traffic: dict[str, int], mirrored: dict[str, int], used: set[str]
) -> None:
    found = swept(
        onlineEndpoints=[endpoint(traffic, mirrored)],
        onlineEndpoints_e_deployments=[deployment("a", OURS), deployment("b", OURS), deployment("other", {})],
    )
    assert found.keys() == {"w/e", "w/e/a", "w/e/b"}
    assert {name for name, thing in found.items() if thing.needed_by == ENDPOINT} == used
    assert found["w/e/a"].usd_month == pytest.approx(2 * 0.3 * 730)


def test_a_version_that_a_deployment_runs_is_used_by_it() -> None:
    versions = [
        {"id": f"{WORKSPACE}/models/m/versions/{number}", "properties": {"tags": OURS}} for number in ("1", "2")
    ]
    found = swept(
        onlineEndpoints=[{"id": ENDPOINT, "properties": {}}],
        onlineEndpoints_e_deployments=[deployment("a", {})],
        models=[{"id": f"{WORKSPACE}/models/m"}],
        models_m_versions=versions,
    )
    assert {name: thing.needed_by for name, thing in found.items()} == {
        "w/m/1": "",
        "w/m/2": f"{ENDPOINT}/deployments/a",
    }


def test_running_jobs_and_clusters_cost_by_their_machines() -> None:
    size = {"vmSize": "Standard_DS3_v2", "vmPriority": "LowPriority", "currentNodeCount": 3}
    cluster = {"id": CLUSTER, "tags": OURS, "properties": {"computeLocation": "westeurope", "properties": size}}
    jobs = [
        {
            "id": f"{WORKSPACE}/jobs/{status}",
            "properties": {
                "status": status,
                "tags": OURS,
                "computeId": CLUSTER.upper(),
                "resources": {"instanceCount": 2},
            },
        }
        for status in ("Running", "Completed")
    ]
    found = swept(computes=[cluster], jobs=jobs)
    assert {name: (thing.kind, thing.usd_month) for name, thing in found.items()} == {
        "w/spot": ("cluster", pytest.approx(3 * 0.1 * 730)),
        "w/Running": (RUN, pytest.approx(2 * 0.1 * 730)),
    }
    size["currentNodeCount"] = 0
    assert swept(computes=[cluster])["w/spot"].usd_month == 0.0


def test_hubs_are_not_looked_into() -> None:
    assert swept("Hub", onlineEndpoints=[endpoint({})]) == {}
