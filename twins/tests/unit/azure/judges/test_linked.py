"""What a change needs on the resources that its body names."""

from pathlib import Path
from typing import Any

import pytest

from llmops_twins.azure.judges.linked import LINKS
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin
from tests.support.clouds.azure import Answer, Arm, local_twin

V = "2025-01-01"
PLACE = "/subscriptions/s/resourceGroups/theirs/providers"
NET = f"{PLACE}/Microsoft.Network/virtualNetworks/net"
SUBNET = "Microsoft.Network/virtualNetworks/subnets"
LOGS = f"{PLACE}/Microsoft.OperationalInsights/workspaces/logs"
ACCOUNT = f"{PLACE}/Microsoft.Storage/storageAccounts/data"
ZONE = f"{PLACE}/Microsoft.Network/privateDnsZones/privatelink.azurecr.io"


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    def services(twin: TenantTwin) -> None:
        for linking in LINKS:
            twin.kind(ResourceKind(linking, (V,), scopes=("group", "resource")))

    return Arm(local_twin(tmp_path, services))


def put(arm: Arm, type_: str, properties: dict[str, Any]) -> Answer:
    """PUT something of a type, of several levels too."""
    namespace, *types = type_.split("/")
    parent = f"{arm.group()}/providers/{namespace}"
    for each in types[:-1]:
        parent += f"/{each}/above"
        arm.twin.keep({"id": parent, "properties": {}})
    return arm.put(f"{parent}/{types[-1]}/one", V, {"properties": properties})


@pytest.mark.parametrize(
    ("type_", "properties", "action", "linked"),
    [
        (
            "Microsoft.Insights/diagnosticSettings",
            {"workspaceId": LOGS},
            "Microsoft.OperationalInsights/workspaces/sharedKeys/action",
            LOGS,
        ),
        (
            "Microsoft.Network/privateEndpoints",
            {"subnet": {"id": f"{NET}/subnets/one"}},
            f"{SUBNET}/join/action",
            f"{NET}/subnets/one",
        ),
        (
            "Microsoft.Network/privateEndpoints",
            {"privateLinkServiceConnections": [{"properties": {"privateLinkServiceId": ACCOUNT}}]},
            "Microsoft.Storage/storageAccounts/privateEndpointConnectionsApproval/action",
            ACCOUNT,
        ),
        (
            "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
            {"privateDnsZoneConfigs": [{"name": "a", "properties": {"privateDnsZoneId": ZONE}}]},
            "Microsoft.Network/privateDnsZones/join/action",
            ZONE,
        ),
        (
            "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
            {"virtualNetwork": {"id": NET}},
            "Microsoft.Network/virtualNetworks/join/action",
            NET,
        ),
        (
            "Microsoft.Storage/storageAccounts",
            {"networkAcls": {"virtualNetworkRules": [{"id": f"{NET}/subnets/one"}]}},
            f"{SUBNET}/joinViaServiceEndpoint/action",
            f"{NET}/subnets/one",
        ),
    ],
)
def test_who_may_write_a_resource_but_not_link_it_is_refused(
    arm: Arm, type_: str, properties: dict[str, Any], action: str, linked: str
) -> None:
    asked: list[tuple[str, str]] = []

    def judge(_who: str, wanted: str, scope: str, _data: bool, _attributes: Any) -> bool:
        asked.append((wanted, scope))
        return wanted != action

    arm.twin.judge_of_roles = judge
    refused = put(arm, type_, properties)
    assert (refused.status, refused.code) == (403, "LinkedAuthorizationFailed")
    words = refused.body["error"]["message"]
    assert f"has permission to perform action '{type_}/write'" in words
    assert f"perform action(s) '{action}' on the linked scope(s) '{linked}'" in words
    assert (action, linked) in asked
    arm.twin.judge_of_roles = None
    assert put(arm, type_, properties).status == 201


def test_a_body_that_is_no_body_of_its_kind_links_nothing(arm: Arm) -> None:
    assert put(arm, "Microsoft.Network/privateEndpoints", {"subnet": ["x"], "privateLinkServiceConnections": 3}).status
