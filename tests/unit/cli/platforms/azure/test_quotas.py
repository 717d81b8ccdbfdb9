"""What Azure ML says of a location's sizes and cores."""

from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from llmops_kit.cli.interfaces.quotas import Machines
from llmops_kit.cli.platforms.azure.quotas import quotas_for
from llmops_kit.core.errors import KitError

SIZES = {"value": [{"name": "Standard_DS3_v2", "family": "standardDSv2Family", "vCPUs": 4}]}


def usage(value: str, words: str, limit: int, current: int = 0) -> dict[str, Any]:
    return {"name": {"value": value, "localizedValue": words}, "limit": limit, "currentValue": current}


USAGES = [
    usage("TotalDedicatedCores", "Total Cluster Dedicated Regional vCPUs", 350),
    usage("standardDSv2Family", "Standard DSv2 Family Cluster Dedicated vCPUs", 20),
    usage("TotalLowPriorityCores", "Total Cluster LowPriority Regional vCPUs", 10),
]


def answers(refused: bool = False) -> Any:
    error = KitError("no") if refused else None
    arm = mock.Mock(find=mock.Mock(return_value=SIZES, side_effect=error), list=mock.Mock(return_value=USAGES))
    return mock.Mock(subscription="s", arm=arm)


def test_endpoints_and_clusters_share_a_family_and_low_priority_has_one_quota() -> None:
    needed = {
        Machines("endpoint", "Standard_DS3_v2"): 2,
        Machines("training job", "standard_ds3_v2"): 3,
        Machines("spot training job", "Standard_DS3_v2"): 3,
    }
    family, spare = quotas_for(answers(), "westeurope", needed)  # 2 machines and a fifth more, so 3 x 4, and 3 x 4
    assert (family.code, family.needed, family.allowed, family.enough) == ("standardDSv2Family", 24, 20, False)
    assert (spare.needed, spare.allowed, spare.enough) == (12, 10, False)
    assert "Quotas page" in spare.fix


WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
OWN: Any = SimpleNamespace(
    subscription="s", resource_group="g", workspace="w", computes={"cpu": None, "spot": None}, endpoints={"chat": "e"}
)


class Subscription:
    """A location of 60 cores of a family, of which 52 are used: 8 by a cluster, 12 by an endpoint, 32 by others."""

    subscription = "s"

    def __init__(self, *, closed: bool = False) -> None:
        self.arm = self
        self._closed = closed
        self._nodes = {"cpu": ("Dedicated", 2), "spot": ("LowPriority", 1)}

    def find(self, id_: str) -> Any:
        if id_.endswith("/vmSizes"):
            return SIZES
        if self._closed:
            raise KitError("these credentials may not do this")
        name = id_.removeprefix(f"{WORKSPACE}/computes/")
        if name not in self._nodes:
            return None
        priority, nodes = self._nodes[name]
        inner = {"vmSize": "STANDARD_DS3_V2", "vmPriority": priority, "currentNodeCount": nodes}
        return {"properties": {"properties": inner}}

    def list(self, id_: str, api_version: str = "") -> Any:
        if id_.endswith("/usages"):
            words = "Standard DSv2 Family Cluster Dedicated vCPUs"
            low = usage("TotalLowPriorityCores", "Total Cluster LowPriority Regional vCPUs", 10, 8)
            return [usage("standardDSv2Family", words, 60, 52), low]
        assert id_ == f"{WORKSPACE}/onlineEndpoints/e/deployments"
        return [{"properties": {"instanceType": "Standard_DS3_v2"}, "sku": {"capacity": 2}}]


@pytest.mark.parametrize(
    ("nodes", "own", "taken", "enough"),
    [
        (2, None, 52, True),
        (3, None, 52, False),
        (4, OWN, 44, True),
        (5, OWN, 44, False),
    ],
)
def test_what_others_use_counts_and_what_the_stacks_clusters_have_does_not(
    nodes: int, own: Any, taken: int, enough: bool
) -> None:
    session: Any = Subscription()
    (family,) = quotas_for(session, "westeurope", {Machines("training job", "Standard_DS3_v2"): nodes}, own)
    assert (family.taken, family.allowed, family.enough) == (taken, 60, enough)
    assert f"allows 60, the update needs {4 * nodes}, and others use {taken}" in family.words


def test_an_endpoints_machines_are_its_own_and_low_priority_nodes_too() -> None:
    session: Any = Subscription()
    needed = {
        Machines("endpoint", "Standard_DS3_v2"): 4,
        Machines("training job", "Standard_DS3_v2"): 2,
        Machines("spot training job", "Standard_DS3_v2"): 1,
    }
    family, low = quotas_for(session, "westeurope", needed, OWN)
    assert (family.needed, family.taken, family.enough) == (28, 32, True)
    assert (low.needed, low.taken, low.enough) == (4, 4, True)


def test_what_cant_be_told_from_others_is_not_held_against_the_stack() -> None:
    session: Any = Subscription(closed=True)
    (family,) = quotas_for(session, "westeurope", {Machines("training job", "Standard_DS3_v2"): 4}, OWN)
    assert (family.taken, family.enough) == (0, True)
    assert "others" not in family.words


def test_a_size_that_the_location_lacks_and_a_caller_who_may_not_ask_are_told_apart() -> None:
    needed = {Machines("training job", "Standard_NC4as_T4_v3"): 1}
    (lacking,) = quotas_for(answers(), "westeurope", needed)
    (unasked,) = quotas_for(answers(refused=True), "westeurope", needed)
    assert (lacking.enough, lacking.why) == (None, "westeurope does not offer this size for Azure ML")
    assert (unasked.enough, unasked.why) == (None, "Azure's quotas can't be read: no")
