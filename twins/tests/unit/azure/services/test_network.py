"""Networks: ranges, what is in use, private endpoints and DNS."""

from pathlib import Path
from typing import Any

import pytest

from llmops_twins.azure.services import network
from tests.support.clouds.azure import Arm, local_twin

V, DNS = "2024-05-01", "2024-06-01"
PLACE = {"location": "westeurope"}


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    return Arm(local_twin(tmp_path, network.install))


@pytest.fixture
def vnet(arm: Arm) -> str:
    """A network with one subnet, `one`."""
    path = f"{arm.group()}/providers/Microsoft.Network/virtualNetworks/net"
    subnets = [{"name": "one", "properties": {"addressPrefix": "10.0.0.0/24"}}]
    space = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": subnets}
    assert arm.put(path, V, {**PLACE, "properties": space}).status == 201
    arm.pass_time()
    return path


def private_endpoint(arm: Arm, vnet: str) -> str:
    """A private endpoint in subnet `one`, to the network itself: any resource will do."""
    path = vnet.replace("virtualNetworks/net", "privateEndpoints/door")
    connection = {"name": "c", "properties": {"privateLinkServiceId": vnet, "groupIds": ["x"]}}
    properties = {"subnet": {"id": f"{vnet}/subnets/one"}, "privateLinkServiceConnections": [connection]}
    assert arm.put(path, V, {**PLACE, "properties": properties}).status == 201
    arm.pass_time()
    return path


def test_subnets_of_the_body_are_resources_of_their_own(arm: Arm, vnet: str) -> None:
    assert arm.get(f"{vnet}/subnets/one", V).body["properties"]["addressPrefix"] == "10.0.0.0/24"
    assert [each["name"] for each in arm.get(vnet, V).body["properties"]["subnets"]] == ["one"]
    assert arm.put(f"{vnet}/subnets/two", V, {"properties": {"addressPrefix": "10.0.1.0/24"}}).status == 201
    assert [each["name"] for each in arm.get(vnet, V).body["properties"]["subnets"]] == ["one", "two"]


def test_a_body_without_subnets_takes_them_away(arm: Arm, vnet: str) -> None:
    space = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}
    assert arm.put(vnet, V, {**PLACE, "properties": space}).status == 200
    assert arm.get(f"{vnet}/subnets/one", V).status == 404


def test_a_patch_without_subnets_leaves_them(arm: Arm, vnet: str) -> None:
    assert arm.call("PATCH", vnet, V, {"tags": {"team": "one"}}).status == 200
    assert [each["name"] for each in arm.get(vnet, V).body["properties"]["subnets"]] == ["one"]


@pytest.mark.parametrize(
    ("prefix", "code"),
    [
        ("10.0.0.128/25", "NetcfgSubnetRangesOverlap"),
        ("10.1.0.0/24", "NetcfgSubnetRangeOutsideVnet"),
        ("10.0.1.1/24", "InvalidAddressPrefixFormat"),
    ],
)
def test_ranges(arm: Arm, vnet: str, prefix: str, code: str) -> None:
    assert arm.put(f"{vnet}/subnets/two", V, {"properties": {"addressPrefix": prefix}}).code == code


def test_what_is_in_use_stays(arm: Arm, vnet: str) -> None:
    door = private_endpoint(arm, vnet)
    assert arm.get(f"{vnet}/subnets/one", V).body["properties"]["privateEndpoints"] == [{"id": door}]
    for path in (vnet, f"{vnet}/subnets/one"):
        assert arm.delete(path, V).code == "InUseSubnetCannotBeDeleted"
    assert arm.delete(door, V).status == 202
    arm.pass_time()
    assert arm.delete(vnet, V).status == 202


def test_a_private_endpoint_keeps_its_subnet_and_needs_what_it_names(arm: Arm, vnet: str) -> None:
    door = private_endpoint(arm, vnet)
    told = arm.get(door, V).body["properties"]
    state = told["privateLinkServiceConnections"][0]["properties"]["privateLinkServiceConnectionState"]
    assert state["status"] == "Approved"
    arm.put(f"{vnet}/subnets/two", V, {"properties": {"addressPrefix": "10.0.1.0/24"}})
    arm.pass_time()
    moved: dict[str, Any] = {"subnet": {"id": f"{vnet}/subnets/two"}, "privateLinkServiceConnections": []}
    assert arm.put(door, V, {**PLACE, "properties": moved}).code == "CannotChangeSubnetOnPrivateEndpoint"
    moved["subnet"] = {"id": f"{vnet}/subnets/three"}
    assert arm.put(f"{door}2", V, {**PLACE, "properties": moved}).code == "InvalidResourceReference"


def test_a_zone_is_global_and_goes_after_its_links(arm: Arm, vnet: str) -> None:
    zone = vnet.replace("virtualNetworks/net", "privateDnsZones/privatelink.api.azureml.ms")
    assert arm.put(zone, DNS, PLACE).code == "BadRequest"
    assert arm.put(zone, DNS, {"location": "global"}).status == 201
    arm.pass_time()
    link = {"location": "global", "properties": {"virtualNetwork": {"id": vnet}}}
    assert arm.put(f"{zone}/virtualNetworkLinks/l", DNS, link).status == 201
    arm.pass_time()
    assert arm.delete(zone, DNS).code == "CannotDeleteResource"
    group = private_endpoint(arm, vnet) + "/privateDnsZoneGroups/default"
    configs = {"privateDnsZoneConfigs": [{"name": "z", "properties": {"privateDnsZoneId": zone}}]}
    assert arm.put(group, V, {"properties": configs}).status == 201


def test_a_security_group_that_is_in_use_stays(arm: Arm, vnet: str) -> None:
    group = vnet.replace("virtualNetworks/net", "networkSecurityGroups/wall")
    arm.put(group, V, {**PLACE, "properties": {}})
    arm.pass_time()
    subnet = {"properties": {"addressPrefix": "10.0.0.0/24", "networkSecurityGroup": {"id": group}}}
    assert arm.put(f"{vnet}/subnets/one", V, subnet).status == 200
    arm.pass_time()
    assert arm.delete(group, V).code == "InUseNetworkSecurityGroupCannotBeDeleted"


def test_a_rule_of_a_security_group_needs_its_properties(arm: Arm) -> None:
    path = f"{arm.group()}/providers/Microsoft.Network/networkSecurityGroups/wall"
    refused = arm.put(path, V, {**PLACE, "properties": {"securityRules": [{"name": "one"}]}})
    assert refused.status == 400
    assert "properties.securityRules[0].properties" in str(refused.body)


def test_a_network_is_linked_to_one_zone_of_a_name(arm: Arm, vnet: str) -> None:
    """Another zone's name, and another network, are free."""
    other = vnet.replace("virtualNetworks/net", "virtualNetworks/other")
    space = {"addressSpace": {"addressPrefixes": ["10.1.0.0/16"]}}
    assert arm.put(other, V, {**PLACE, "properties": space}).status == 201
    name = "privatelink.blob.core.windows.net"
    answers = []
    for group, zone, net in (
        ("theirs", name, vnet),
        ("ours", name, vnet),
        ("ours", name, other),
        ("ours", "privatelink.vaultcore.azure.net", vnet),
    ):
        path = f"{arm.group(group)}/providers/Microsoft.Network/privateDnsZones/{zone}"
        assert arm.put(path, DNS, {"location": "global"}).status in (200, 201)
        arm.pass_time()
        link = {"location": "global", "properties": {"virtualNetwork": {"id": net}}}
        answers.append(arm.put(f"{path}/virtualNetworkLinks/{net.rpartition('/')[2]}", DNS, link))
        arm.pass_time()
    assert [each.status for each in answers] == [201, 400, 201, 201]
    assert "cannot be linked to multiple zones with overlapping namespaces" in answers[1].body["error"]["message"]
