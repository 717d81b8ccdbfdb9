"""The group and the roles that bootstrap made go with its project; a group of somebody else stays."""

from types import SimpleNamespace
from typing import Any

import pytest

from llmops_kit.cli.platforms.azure.bootstrap.names import TAGS, AzureBootstrapNames
from llmops_kit.cli.platforms.azure.bootstrap.removal import remove
from llmops_kit.cli.platforms.azure.bootstrap.roles import MADE
from llmops_kit.clouds.azure.arm import ResourceManager
from llmops_kit.core.errors import KitError
from tests.unit.clouds.azure.cloud import Cloud

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
GROUP = AzureBootstrapNames("gone", SUBSCRIPTION).group_id
ROLES = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions"
ASSIGNMENTS = ROLES.replace("roleDefinitions", "roleAssignments")
ROLE = {
    "id": f"{ROLES}/a-role",
    "name": "a-role",
    "properties": {
        "roleName": "gone signs 1234abcd",
        "description": MADE,
        "assignableScopes": [f"/subscriptions/{SUBSCRIPTION}"],
    },
}


def test_the_roles_and_the_group_go_and_again_nothing(cloud: Cloud, arm: ResourceManager) -> None:
    cloud.documents |= {GROUP: {"id": GROUP, "tags": {**TAGS, "cost": "7"}}, ROLES: {"value": [ROLE]}}
    cloud.documents[ASSIGNMENTS] = {"value": []}
    for gone in (GROUP, ROLE["id"]):
        cloud.answer("DELETE", str(gone), (200, None, {}))
    session: Any = SimpleNamespace(arm=arm, subscription=SUBSCRIPTION)
    remove(session, "gone")
    expected = [("GET", GROUP), ("GET", ROLES), ("GET", ASSIGNMENTS), ("DELETE", ROLE["id"]), ("DELETE", GROUP)]
    assert [(a.method, a.path) for a in cloud.asked] == expected
    del cloud.documents[GROUP]
    cloud.documents[ROLES] = {"value": []}
    remove(session, "gone")
    assert [(a.method, a.path) for a in cloud.asked[5:]] == [("GET", GROUP), ("GET", ROLES)]


def test_a_group_of_somebody_else_stays(cloud: Cloud, arm: ResourceManager) -> None:
    cloud.documents[GROUP] = {"id": GROUP, "tags": {"team": "payroll"}}
    session: Any = SimpleNamespace(arm=arm, subscription=SUBSCRIPTION)
    with pytest.raises(KitError, match="bootstrap did not create"):
        remove(session, "gone")
    assert [a.method for a in cloud.asked] == ["GET"]
