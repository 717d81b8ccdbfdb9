"""The group that bootstrap made goes with its project; one of somebody else stays."""

from types import SimpleNamespace
from typing import Any

import pytest

from contract.errors import KitError
from llmops.platforms.azure.arm import Arm
from llmops.platforms.azure.bootstrap.bootstrap import TAGS, Names
from llmops.platforms.azure.bootstrap.removal import remove
from tests.unit.llmops.platforms.azure.conftest import Cloud

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
GROUP = Names("gone", SUBSCRIPTION).group_id


def test_the_group_goes_and_again_nothing(cloud: Cloud, arm: Arm) -> None:
    cloud.documents[GROUP] = {"id": GROUP, "tags": {**TAGS, "cost": "7"}}
    cloud.answer("DELETE", GROUP, (200, None, {}))
    clients: Any = SimpleNamespace(arm=arm, subscription=SUBSCRIPTION)
    remove(clients, "gone")
    assert [(a.method, a.path) for a in cloud.asked] == [("GET", GROUP), ("DELETE", GROUP)]
    del cloud.documents[GROUP]
    remove(clients, "gone")
    assert [a.method for a in cloud.asked[2:]] == ["GET"]


def test_a_group_of_somebody_else_stays(cloud: Cloud, arm: Arm) -> None:
    cloud.documents[GROUP] = {"id": GROUP, "tags": {"team": "payroll"}}
    clients: Any = SimpleNamespace(arm=arm, subscription=SUBSCRIPTION)
    with pytest.raises(KitError, match="was not made by bootstrap"):
        remove(clients, "gone")
    assert [a.method for a in cloud.asked] == ["GET"]
