"""Nodes of a cluster: whose turn it is, how many there are, and which are idle."""

from pathlib import Path

import pytest

from llmops_twins.azure.ml.running.nodes import Nodes
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.runner import Runner
from llmops_twins.azure.twin import TenantTwin, TwinSettings

ID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/w/computes/cpu"


@pytest.fixture
def twin(tmp_path: Path) -> TenantTwin:
    return TenantTwin(tmp_path, TwinSettings(pace=300.0))


def cluster(twin: TenantTwin, least: int = 0, most: int = 3, size: str = "x") -> Document:
    scale = {"minNodeCount": least, "maxNodeCount": most, "nodeIdleTimeBeforeScaleDown": "PT1H"}
    twin.keep({"id": ID, "properties": {"properties": {"vmSize": size, "scaleSettings": scale}}})
    found = twin.find(ID)
    assert found
    return found


def test_jobs_get_nodes_in_their_turn(twin: TenantTwin) -> None:
    nodes, compute = Nodes(twin), cluster(twin)
    for job in ("a", "b", "c"):
        nodes.wait(compute, job)
    assert nodes.take(compute, "b", 1) is None  # it is the turn of a
    assert nodes.take(compute, "a", 2) == 2
    assert nodes.take(compute, "b", 2) is None  # there are three at most
    assert nodes.states(ID) == {"preparing": 2}
    nodes.ready(ID, "a")
    assert nodes.states(ID) == {"running": 2}
    nodes.give_back(ID, "a")
    assert nodes.states(ID) == {"idle": 2}
    assert nodes.take(compute, "b", 3) == 1  # two are there already
    nodes.give_back(ID, "b", lost=True)
    assert nodes.states(ID) == {}


def test_who_stops_waiting_lets_the_next_go_first(twin: TenantTwin) -> None:
    nodes, compute = Nodes(twin), cluster(twin)
    nodes.wait(compute, "a")
    nodes.wait(compute, "b")
    nodes.give_back(ID, "a")
    assert nodes.take(compute, "b", 1) == 1


def test_the_least_number_is_there_always(twin: TenantTwin) -> None:
    nodes, compute = Nodes(twin), cluster(twin, least=2)
    assert nodes.states(ID) == {"idle": 2}
    nodes.wait(compute, "a")
    assert nodes.take(compute, "a", 1) == 0
    nodes.ready(ID, "a")
    assert nodes.states(ID) == {"running": 1, "idle": 1}


def test_no_more_nodes_than_the_quota_allows(tmp_path: Path) -> None:
    quota = {"Standard DSv2 Family Cluster Dedicated vCPUs": 8}
    twin = TenantTwin(tmp_path, TwinSettings(pace=300.0, quotas=quota))
    runner = Runner(twin)
    twin.running = runner
    nodes, compute = runner.jobs.nodes, cluster(twin, size="Standard_DS3_v2")  # of four cores
    nodes.wait(compute, "a")
    nodes.wait(compute, "b")
    assert nodes.take(compute, "a", 2) == 2
    assert nodes.take(compute, "b", 1) is None
    nodes.give_back(ID, "a")
    assert nodes.take(compute, "b", 1) == 0
