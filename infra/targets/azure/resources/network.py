"""How the stack's own things are reached where nothing of them is public: private endpoints in a subnet that exists.

What jobs and endpoints reach is the workspace's managed network. A thing that is given has its own way in.
https://learn.microsoft.com/azure/machine-learning/how-to-configure-private-link
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

import pulumi

from infra.targets.azure.here import Here, Registry, Scratch, Storage, Vault, Workspace

_API = "2024-05-01"
_ZONE_API = "2024-06-01"
Thing = TypeVar("Thing", Storage, Scratch, Vault, Registry, Workspace)


class _Door(NamedTuple):
    setting: str  # of what, where it is given
    group: str  # of the private link service
    zones: dict[str, str]  # setting in dns_zones -> name


DOORS = {
    "storage": _Door("storage_account", "blob", {"blob": "privatelink.blob.core.windows.net"}),
    "scratch": _Door("storage_account", "blob", {"blob": "privatelink.blob.core.windows.net"}),
    "vault": _Door("vault", "vault", {"vault": "privatelink.vaultcore.azure.net"}),
    "registry": _Door("registry", "registry", {"registry": "privatelink.azurecr.io"}),
    "workspace": _Door(
        "workspace",
        "amlworkspace",
        {"workspace": "privatelink.api.azureml.ms", "notebooks": "privatelink.notebooks.azure.net"},
    ),
}
"""https://learn.microsoft.com/azure/private-link/private-endpoint-dns"""


class Doors:
    """Private endpoints of a stack's own things, where there are to be any."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self._zones: dict[str, pulumi.Input[str]] = {}  # setting in dns_zones -> id: several doors share one

    def open(self, thing: str, made: Thing) -> Thing:
        """Declare the private endpoint of a thing.

        Args:
            thing: of DOORS.
            made: it.

        Returns:
            The same, which is ready when it can be reached.
        """
        given = self._here.settings.azure
        if given.network.mode != "existing" or getattr(given, DOORS[thing].setting):
            return made
        zones = {setting: self._zone(setting, name) for setting, name in DOORS[thing].zones.items()}
        return replace(made, ready=[*made.ready, *_door(self._here, thing, made.id, zones, made.ready)])

    def _zone(self, setting: str, name: str) -> pulumi.Input[str]:
        if setting not in self._zones:
            self._zones[setting] = _zone(self._here, setting, name)
        return self._zones[setting]


def _door(
    here: Here,
    thing: str,
    target: pulumi.Input[str],
    zones: dict[str, pulumi.Input[str]],
    after: Sequence[pulumi.Resource],
) -> list[pulumi.Resource]:
    wanted, door = here.settings.azure.network, DOORS[thing]
    from pulumi_azure_native import network  # a large module, which only this needs

    logical, name = f"private-endpoint-{thing}", here.names.of(f"{thing}-door")
    id_ = here.id("Microsoft.Network/privateEndpoints", name)
    endpoint = network.PrivateEndpoint(
        logical,
        private_endpoint_name=name,
        resource_group_name=here.group,
        location=here.location,
        subnet=network.SubnetArgs(id=wanted.subnet),
        private_link_service_connections=[
            network.PrivateLinkServiceConnectionArgs(name=thing, private_link_service_id=target, group_ids=[door.group])
        ],
        tags=here.all_tags,
        opts=here.adopted("azure-native:network:PrivateEndpoint", logical, id_, _API, depends_on=list(after)),
    )
    group = network.PrivateDnsZoneGroup(
        f"{logical}-names",
        private_endpoint_name=endpoint.name,
        private_dns_zone_group_name="default",
        resource_group_name=here.group,
        private_dns_zone_configs=[
            network.PrivateDnsZoneConfigArgs(name=setting, private_dns_zone_id=zone) for setting, zone in zones.items()
        ],
        opts=here.adopted(
            "azure-native:network:PrivateDnsZoneGroup",
            f"{logical}-names",
            f"{id_}/privateDnsZoneGroups/default",
            _API,
        ),
    )
    return [endpoint, group]


def _zone(here: Here, setting: str, name: str) -> pulumi.Input[str]:
    """Id of the private DNS zone, which is linked to the subnet's network when it is made."""
    wanted = here.settings.azure.network
    if given := getattr(wanted.dns_zones, setting):
        return given
    from pulumi_azure_native import privatedns

    logical, id_ = f"dns-{setting}", here.id("Microsoft.Network/privateDnsZones", name)
    zone = privatedns.PrivateZone(
        logical,
        private_zone_name=name,
        resource_group_name=here.group,
        location="global",
        tags=here.all_tags,
        opts=here.adopted("azure-native:privatedns:PrivateZone", logical, id_, _ZONE_API),
    )
    link = here.names.of("network-link")
    privatedns.VirtualNetworkLink(
        f"{logical}-link",
        virtual_network_link_name=link,
        private_zone_name=zone.name,
        resource_group_name=here.group,
        location="global",
        registration_enabled=False,
        virtual_network=privatedns.SubResourceArgs(id=wanted.subnet.partition("/subnets/")[0]),
        tags=here.all_tags,
        opts=here.adopted(
            "azure-native:privatedns:VirtualNetworkLink",
            f"{logical}-link",
            f"{id_}/virtualNetworkLinks/{link}",
            _ZONE_API,
        ),
    )
    return zone.id
