"""Linked actions: permissions that a change needs on other resources that its body names.

Azure Resource Manager checks them on each PUT and PATCH, before the resource provider sees the body.

Error message: https://github.com/Azure/aad-pod-identity/issues/613. The table's comments give the source of each
action.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document
from llmops_twins.azure.protocol.ids import Id
from llmops_twins.azure.twin import TenantTwin


class Link(NamedTuple):
    """A path in a body that names another resource (`[]` for any index), and the action needed on it; `{type}` is that
    resource's type.
    """

    path: str
    action: str


_SUBNET = "Microsoft.Network/virtualNetworks/subnets"
_JOIN_RULES = Link("properties.networkAcls.virtualNetworkRules[].id", f"{_SUBNET}/joinViaServiceEndpoint/action")
_OF_SUBNETS = ("networkSecurityGroup", "routeTable", "natGateway")
LINKS: dict[str, tuple[Link, ...]] = {
    # https://github.com/MicrosoftDocs/azure-docs/issues/80159, https://github.com/JimGBritt/AzurePolicy/issues/17
    "Microsoft.Insights/diagnosticSettings": (
        Link("properties.workspaceId", "Microsoft.OperationalInsights/workspaces/sharedKeys/action"),
        Link("properties.storageAccountId", "Microsoft.Storage/storageAccounts/listKeys/action"),
    ),
    # https://learn.microsoft.com/azure/private-link/rbac-permissions, and "Approval RBAC permissions" of
    # https://learn.microsoft.com/azure/private-link/private-endpoint-overview
    "Microsoft.Network/privateEndpoints": (
        Link("properties.subnet.id", f"{_SUBNET}/join/action"),
        Link(
            "properties.privateLinkServiceConnections[].properties.privateLinkServiceId",
            "{type}/privateEndpointConnectionsApproval/action",
        ),
    ),
    # "join" of https://learn.microsoft.com/azure/role-based-access-control/permissions/networking
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": (
        Link(
            "properties.privateDnsZoneConfigs[].properties.privateDnsZoneId",
            "Microsoft.Network/privateDnsZones/join/action",
        ),
    ),
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": (
        Link("properties.virtualNetwork.id", "Microsoft.Network/virtualNetworks/join/action"),
    ),
    # https://learn.microsoft.com/azure/virtual-network/virtual-network-manage-subnet#permissions
    "Microsoft.Network/virtualNetworks": tuple(
        Link(f"properties.subnets[].properties.{name}.id", f"Microsoft.Network/{name}s/join/action")
        for name in _OF_SUBNETS
    ),
    _SUBNET: tuple(Link(f"properties.{name}.id", f"Microsoft.Network/{name}s/join/action") for name in _OF_SUBNETS),
    # https://learn.microsoft.com/azure/storage/common/storage-network-security-virtual-networks
    "Microsoft.Storage/storageAccounts": (_JOIN_RULES,),
    "Microsoft.KeyVault/vaults": (_JOIN_RULES,),
    # https://learn.microsoft.com/azure/machine-learning/how-to-secure-training-vnet#prerequisites
    "Microsoft.MachineLearningServices/workspaces/computes": (
        Link("properties.properties.subnet.id", f"{_SUBNET}/join/action"),
    ),
}
_LINKS = {type_.lower(): links for type_, links in LINKS.items()}


def check(twin: TenantTwin, call: ArmCall, type_: str, body: Document) -> None:
    """Refuses a change that links a resource on which its caller lacks the required permission.

    Raises:
        ArmError: 403 LinkedAuthorizationFailed.
    """
    for link in _LINKS.get(type_.lower(), ()):
        for linked in _named(body, link.path.split(".")):
            require(twin, call, type_, link.action.format(type=Id.parse(linked).type), linked)


def require(twin: TenantTwin, call: ArmCall, type_: str, action: str, linked: str) -> None:
    """Refuses a change of a resource of this type unless its caller may do `action` on the linked resource.

    Raises:
        ArmError: 403 LinkedAuthorizationFailed.
    """
    caller = call.caller
    if twin.may(caller.object_id, action, linked):
        return
    raise ArmError(
        403,
        "LinkedAuthorizationFailed",
        f"The client '{caller.app_id}' with object id '{caller.object_id}' has permission to perform action "
        f"'{type_}/write' on scope '{call.id}'; however, it does not have permission to perform action(s) '{action}' "
        f"on the linked scope(s) '{linked}' (respectively) or the linked scope(s) are invalid.",
    )


def _named(value: Any, path: list[str]) -> Iterator[str]:
    """Yields the resource ids at a path of a body that has not been validated yet."""
    if not path:
        if isinstance(value, str) and value.startswith("/"):
            yield value
        return
    member, rest = path[0].removesuffix("[]"), path[1:]
    found = (
        next((v for k, v in value.items() if k.lower() == member.lower()), None) if isinstance(value, dict) else None
    )
    for each in found if path[0].endswith("[]") and isinstance(found, list) else [found]:
        yield from _named(each, rest)
