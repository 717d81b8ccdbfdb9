"""Private endpoints of the stack's own resources, in an existing subnet, if none of them may be public.

The workspace's managed network limits what jobs and endpoints reach. Access to existing resources is their owner's.
https://learn.microsoft.com/azure/machine-learning/how-to-configure-private-link
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import pulumi

from llmops_kit.infra.targets.azure.inventory import PRIVATE_LINKS, ZONES
from llmops_kit.infra.targets.azure.resources.context import (
    AzureRegistry,
    AzureScratch,
    AzureStack,
    AzureStorage,
    AzureVault,
    AzureWorkspace,
)

Linked = TypeVar("Linked", AzureStorage, AzureScratch, AzureVault, AzureRegistry, AzureWorkspace)


class PrivateLinks:
    """Private endpoints of a stack's own resources, if its settings ask for them."""

    def __init__(self, stack: AzureStack) -> None:
        self._stack = stack
        self._zones: dict[str, pulumi.Input[str]] = {}  # setting in dns_zones -> id: several endpoints share one

    def link(self, resource: str, made: Linked) -> Linked:
        """Declare the private endpoint of a resource of PRIVATE_LINKS.

        Returns:
            The same, which is ready when it can be reached.
        """
        if resource not in self._stack.inventory.linked:
            return made
        zones = {setting: self._zone(setting) for setting in PRIVATE_LINKS[resource][2]}
        return replace(made, ready=[*made.ready, *_endpoint(self._stack, resource, made.id, zones, made.ready)])

    def _zone(self, setting: str) -> pulumi.Input[str]:
        if setting not in self._zones:
            given = getattr(self._stack.azure.network.dns_zones, setting)
            self._zones[setting] = given or _zone(self._stack, setting)
        return self._zones[setting]


def _endpoint(
    stack: AzureStack,
    resource: str,
    target: pulumi.Input[str],
    zones: dict[str, pulumi.Input[str]],
    after: Sequence[pulumi.Resource],
) -> list[pulumi.Resource]:
    from pulumi_azure_native import network  # a large module that only private stacks need

    entry, names = stack.inventory.private_endpoint(resource), stack.inventory.zone_group(resource)
    connection = network.PrivateLinkServiceConnectionArgs(
        name=resource, private_link_service_id=target, group_ids=[PRIVATE_LINKS[resource][1]]
    )
    endpoint = network.PrivateEndpoint(
        entry.logical,
        private_endpoint_name=entry.name,
        subnet=network.SubnetArgs(id=stack.azure.network.subnet),
        private_link_service_connections=[connection],
        **stack.placed,
        opts=stack.options(entry, depends_on=list(after)),
    )
    group = network.PrivateDnsZoneGroup(
        names.logical,
        private_endpoint_name=endpoint.name,
        private_dns_zone_group_name=names.name,
        resource_group_name=stack.group,
        private_dns_zone_configs=[
            network.PrivateDnsZoneConfigArgs(name=setting, private_dns_zone_id=zone) for setting, zone in zones.items()
        ],
        opts=stack.options(names),
    )
    return [endpoint, group]


def _zone(stack: AzureStack, setting: str) -> pulumi.Input[str]:
    """Returns the id of the private DNS zone, linked to the subnet's network if the kit creates it."""
    from pulumi_azure_native import privatedns

    entry, link = stack.inventory.zone(setting), stack.inventory.zone_link(setting)
    zone = privatedns.PrivateZone(
        entry.logical,
        private_zone_name=ZONES[setting],
        location="global",
        **stack.grouped,
        opts=stack.options(entry),
    )
    privatedns.VirtualNetworkLink(
        link.logical,
        virtual_network_link_name=link.name,
        private_zone_name=zone.name,
        location="global",
        registration_enabled=False,
        virtual_network=privatedns.SubResourceArgs(id=stack.azure.network.subnet.partition("/subnets/")[0]),
        **stack.grouped,
        opts=stack.options(link),
    )
    return zone.id
