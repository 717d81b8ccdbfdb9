"""The group that bootstrap made goes with its project; one of somebody else stays."""

from types import SimpleNamespace
from typing import Any

import pytest

from llmops_kit.cli.platforms.azure.bootstrap.names import TAGS, AzureBootstrapNames
from llmops_kit.cli.platforms.azure.bootstrap.removal import remove
from llmops_kit.clouds.azure.arm import ResourceManager
from llmops_kit.core.errors import KitError
from tests.unit.clouds.azure.cloud import Cloud

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
GROUP = AzureBootstrapNames("gone", SUBSCRIPTION).group_id


def test_the_group_goes_and_again_nothing(cloud: Cloud, arm: ResourceManager) -> None:
    cloud.documents[GROUP] = {"id": GROUP, "tags": {**TAGS, "cost": "7"}}
    cloud.answer("DELETE", GROUP, (200, None, {}))
    session: Any = SimpleNamespace(arm=arm, subscription=SUBSCRIPTION)
    remove(session, "gone")
    assert [(a.method, a.path) for a in cloud.asked] == [("GET", GROUP), ("DELETE", GROUP)]
    del cloud.documents[GROUP]
    remove(session, "gone")
    assert [a.method for a in cloud.asked[2:]] == ["GET"]


def test_a_group_of_somebody_else_stays(cloud: Cloud, arm: ResourceManager) -> None:
    cloud.documents[GROUP] = {"id": GROUP, "tags": {"team": "payroll"}}
    session: Any = SimpleNamespace(arm=arm, subscription=SUBSCRIPTION)
    with pytest.raises(KitError, match="bootstrap did not create"):
        remove(session, "gone")
    assert [a.method for a in cloud.asked] == ["GET"]
