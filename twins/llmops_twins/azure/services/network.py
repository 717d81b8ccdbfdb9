"""Microsoft.Network: virtual networks, subnets, security groups, private endpoints and private DNS zones.

Everything runs on this machine: documents and rules are Azure's, but no traffic is blocked or routed.

https://learn.microsoft.com/rest/api/virtualnetwork/
"""

import ipaddress
import uuid
from typing import Any

from llmops_twins.azure.protocol import body_checks
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document
from llmops_twins.azure.protocol.declared import READ_ONLY
from llmops_twins.azure.protocol.ids import Id, key
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

NETWORKS = "Microsoft.Network/virtualNetworks"
SUBNETS = "Microsoft.Network/virtualNetworks/subnets"
SECURITY_GROUPS = "Microsoft.Network/networkSecurityGroups"
ENDPOINTS = "Microsoft.Network/privateEndpoints"
ZONE_GROUPS = "Microsoft.Network/privateEndpoints/privateDnsZoneGroups"
ZONES = "Microsoft.Network/privateDnsZones"
LINKS = "Microsoft.Network/privateDnsZones/virtualNetworkLinks"
SECONDS = 10.0
_NAME = r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,78}[a-zA-Z0-9_])?"
_NETWORK = body_checks.Body(
    NETWORKS,
    required=("properties.addressSpace", "properties.addressSpace.addressPrefixes"),
    more={"properties.defaultPublicNatGateway": READ_ONLY},  # in later API versions
)
_SUBNET = body_checks.Body(
    SUBNETS,
    required=(
        *(f"properties.{name}.id" for name in ("networkSecurityGroup", "routeTable", "natGateway")),
        "properties.delegations[].name",
        "properties.delegations[].properties.serviceName",
        "properties.serviceEndpoints[].service",
    ),
)
_RULE = "properties.securityRules[].properties"
_SECURITY_GROUP = body_checks.Body(
    SECURITY_GROUPS,
    required=(_RULE, *(f"{_RULE}.{name}" for name in ("access", "direction", "priority", "protocol"))),
)
_CONNECTIONS = ("privateLinkServiceConnections", "manualPrivateLinkServiceConnections")
_ENDPOINT = body_checks.Body(
    ENDPOINTS,
    required=(
        *("properties.subnet", "properties.subnet.id", "properties.applicationSecurityGroups[].id"),
        *(
            f"properties.{connections}[].{name}"
            for connections in _CONNECTIONS
            for name in ("name", "properties.privateLinkServiceId")
        ),
    ),
    more={
        "properties.ipVersionType": body_checks.TEXT,
        "properties.resourceGuid": READ_ONLY,
    },  # in later API versions
)
_ZONE_CONFIG = "properties.privateDnsZoneConfigs[]"
_ZONE_GROUP = body_checks.Body(
    ZONE_GROUPS,
    required=(
        "properties.privateDnsZoneConfigs",
        *(f"{_ZONE_CONFIG}.{name}" for name in ("name", "properties.privateDnsZoneId")),
    ),
)
_ZONE = body_checks.Body(ZONES)
_LINK = body_checks.Body(
    LINKS,
    required=("properties.virtualNetwork", "properties.virtualNetwork.id"),
)


def install(twin: TenantTwin) -> None:
    """Registers the kinds. Subnets, private endpoints and their zone groups have no PATCH in the specification."""
    common = {"name": _NAME, "seconds": SECONDS, "patch": False}
    place = {**common, "patch": True, "location": True}
    twin.kind(ResourceKind(NETWORKS, put=_put_network, deleting=_delete_network, show=_show_network, **place))
    twin.kind(ResourceKind(SUBNETS, put=_put_subnet, deleting=_delete_subnet, show=_show_subnet, **common))
    twin.kind(ResourceKind(SECURITY_GROUPS, put=_put_security_group, deleting=_delete_security_group, **place))
    twin.kind(ResourceKind(ENDPOINTS, put=_put_endpoint, **common, location=True))
    twin.kind(ResourceKind(ZONE_GROUPS, put=_put_zone_group, **common))
    zone = r"[a-zA-Z0-9_-]{1,63}(\.[a-zA-Z0-9_-]{1,63}){1,34}"
    twin.kind(ResourceKind(ZONES, put=_put_zone, deleting=_delete_zone, name=zone, seconds=SECONDS, location=True))
    twin.kind(ResourceKind(LINKS, put=_put_link, name=_NAME, seconds=SECONDS, location=True))


def _put_network(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = _NETWORK.judged(call)
    properties = body["properties"]
    spaces = [_network(each, "properties.addressSpace") for each in properties["addressSpace"]["addressPrefixes"]]
    replaced = [] if call.method == "PATCH" and "subnets" not in properties else twin.children(call.id, SUBNETS)
    subnets = properties.pop("subnets", [])
    for name in {d["name"] for d in replaced} - {each.get("name") for each in subnets}:
        _drop_subnet(twin, f"{call.id}/subnets/{name}")
    before = (there or {}).get("properties") or {}
    properties["resourceGuid"] = before.get("resourceGuid") or str(uuid.uuid4())
    properties.setdefault("virtualNetworkPeerings", [])
    properties.setdefault("enableDdosProtection", False)
    for subnet in subnets:
        _keep_subnet(twin, call, f"{call.id}/subnets/{subnet.get('name')}", subnet, spaces)
    return {**body, "etag": _etag()}


def _keep_subnet(twin: TenantTwin, call: ArmCall, subnet_id: str, given: Document, spaces: list[Any]) -> None:
    """Stores a subnet that is given in its network's body."""
    body = {"properties": given.get("properties") or {}}
    inner = ArmCall("PUT", subnet_id, call.query, {}, body, call.caller, call.api_version, subnet_id, call.url)
    made = _subnet(twin, inner, spaces)
    made["properties"]["provisioningState"] = "Succeeded"
    twin.keep({"id": subnet_id, "name": Id.parse(subnet_id).name, "type": SUBNETS, **made})


def _put_subnet(twin: TenantTwin, call: ArmCall, _there: Document | None) -> Document:
    network = twin.find(call.id.rsplit("/", 2)[0])
    assert network  # ARM has checked the parent
    prefixes = network["properties"]["addressSpace"]["addressPrefixes"]
    return _subnet(twin, call, [_network(each, "properties.addressSpace") for each in prefixes])


def _subnet(twin: TenantTwin, call: ArmCall, spaces: list[Any]) -> Document:
    body = _SUBNET.judged(call)
    properties = body["properties"]
    given = properties.get("addressPrefixes") or [properties.get("addressPrefix") or ""]
    name = Id.parse(call.id).name
    for each in [_network(prefix, "properties.addressPrefix") for prefix in given]:
        if not any(each.version == space.version and each.subnet_of(space) for space in spaces):
            message = f"Subnet '{name}' is not valid because its IP address range is outside the IP address range of "
            # https://github.com/MicrosoftDocs/azure-docs/pull/123869 has both
            raise ArmError(400, "NetcfgSubnetRangeOutsideVnet", f"{message}its virtual network.")
        for other in twin.children(call.id.rsplit("/", 2)[0], SUBNETS):
            if key(other["id"]) != key(call.id) and any(
                each.overlaps(o) for o in _ranges(other) if o.version == each.version
            ):
                message = (
                    f"Subnet '{name}' is not valid because its IP address range overlaps with that of an existing "
                )
                raise ArmError(400, "NetcfgSubnetRangesOverlap", f"{message}subnet ('{other['name']}').")
    if group := properties.get("networkSecurityGroup"):
        _require(twin, group["id"], SECURITY_GROUPS)
    properties.setdefault("delegations", [])
    properties.setdefault("privateEndpointNetworkPolicies", "Disabled")
    properties.setdefault("privateLinkServiceNetworkPolicies", "Enabled")
    return {**body, "etag": _etag()}


def _ranges(subnet: Document) -> list[Any]:
    properties = subnet["properties"]
    given = properties.get("addressPrefixes") or [properties["addressPrefix"]]
    return [ipaddress.ip_network(each) for each in given]


def _show_network(twin: TenantTwin, document: Document) -> Document:
    subnets = [twin.shown(each) for each in twin.children(document["id"], SUBNETS)]
    document["properties"]["subnets"] = subnets
    return document


def _show_subnet(twin: TenantTwin, document: Document) -> Document:
    endpoints = [{"id": d["id"]} for d in _endpoints_in(twin, document["id"])]
    if endpoints:
        document["properties"]["privateEndpoints"] = endpoints
    return document


def _endpoints_in(twin: TenantTwin, subnet_id: str) -> list[Document]:
    return [
        document
        for document in twin.resources.values()
        if document["type"] == ENDPOINTS and key(document["properties"]["subnet"]["id"]) == key(subnet_id)
    ]


def _delete_network(twin: TenantTwin, _call: ArmCall, document: Document) -> None:
    for subnet in twin.children(document["id"], SUBNETS):
        _check_unused(twin, subnet["id"])


def _delete_subnet(twin: TenantTwin, _call: ArmCall, document: Document) -> None:
    _check_unused(twin, document["id"])


def _drop_subnet(twin: TenantTwin, subnet_id: str) -> None:
    _check_unused(twin, subnet_id)
    twin.drop(subnet_id)


def _check_unused(twin: TenantTwin, subnet_id: str) -> None:
    for endpoint in _endpoints_in(twin, subnet_id):
        raise ArmError(
            400,
            "InUseSubnetCannotBeDeleted",
            f"Subnet {Id.parse(subnet_id).name} is in use by {endpoint['id']} and cannot be deleted. In order to "
            "delete the subnet, delete all the resources within the subnet.",
        )


def _put_security_group(_twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = _SECURITY_GROUP.judged(call)
    before = (there or {}).get("properties") or {}
    body["properties"].setdefault("securityRules", [])
    body["properties"]["resourceGuid"] = before.get("resourceGuid") or str(uuid.uuid4())
    return {**body, "etag": _etag()}


def _delete_security_group(twin: TenantTwin, _call: ArmCall, document: Document) -> None:
    for subnet in twin.resources.values():
        group = subnet["properties"].get("networkSecurityGroup") if subnet["type"] == SUBNETS else None
        if group and key(group["id"]) == key(document["id"]):
            message = (
                f"Network security group {document['name']} cannot be deleted because it is in use by {subnet['id']}."
            )
            raise ArmError(400, "InUseNetworkSecurityGroupCannotBeDeleted", message)


def _put_endpoint(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = _ENDPOINT.judged(call)
    properties = body["properties"]
    _require(twin, properties["subnet"]["id"], SUBNETS)
    if there and key(there["properties"]["subnet"]["id"]) != key(properties["subnet"]["id"]):
        raise ArmError(
            400, "CannotChangeSubnetOnPrivateEndpoint", "The subnet of a private endpoint cannot be changed."
        )
    connections = properties.setdefault("privateLinkServiceConnections", [])
    if not connections and not properties.get("manualPrivateLinkServiceConnections"):
        raise body_checks.refused("A connection to a private link service is needed.", "properties")
    for each in connections:
        _require(twin, each["properties"]["privateLinkServiceId"], "")
        state = {"status": "Approved", "description": "Auto-Approved", "actionsRequired": "None"}
        each["properties"] |= {"privateLinkServiceConnectionState": state, "provisioningState": "Succeeded"}
    network = properties.get("customNetworkInterfaceName") or f"{Id.parse(call.id).name}.nic.{uuid.uuid4()}"
    group = Id.parse(call.id)
    place = f"/subscriptions/{group.subscription}/resourceGroups/{group.group}/providers/Microsoft.Network"
    before = (there or {}).get("properties") or {}
    properties["networkInterfaces"] = before.get("networkInterfaces") or [
        {"id": f"{place}/networkInterfaces/{network}"}
    ]
    properties.setdefault("customDnsConfigs", [])
    return {**body, "etag": _etag()}


def _put_zone_group(twin: TenantTwin, call: ArmCall, _there: Document | None) -> Document:
    body = _ZONE_GROUP.judged(call)
    for each in body["properties"]["privateDnsZoneConfigs"]:
        _require(twin, each["properties"]["privateDnsZoneId"], ZONES)
    return {**body, "etag": _etag()}


def _put_zone(_twin: TenantTwin, call: ArmCall, _there: Document | None) -> Document:
    body = _ZONE.judged(call)
    _require_global(body)
    body["properties"] = {
        "internalId": str(uuid.uuid4()),
        "maxNumberOfRecordSets": 25_000,
        "maxNumberOfVirtualNetworkLinks": 1000,
        "maxNumberOfVirtualNetworkLinksWithRegistration": 100,
        "numberOfRecordSets": 1,
        "numberOfVirtualNetworkLinks": 0,
        "numberOfVirtualNetworkLinksWithRegistration": 0,
    }
    return {**body, "etag": _etag()}


def _delete_zone(twin: TenantTwin, _call: ArmCall, document: Document) -> None:
    if twin.children(document["id"], LINKS):
        nested = twin.children(document["id"], LINKS)[0]["id"].partition("/providers/")[2]
        message = f"Cannot delete resource while nested resources exist. Some existing nested resource IDs include: '{nested}'. Please delete all nested resources before deleting this resource."  # fmt: skip # noqa: E501
        # https://github.com/learntocloud/networking-lab/issues/8
        raise ArmError(409, "CannotDeleteResource", message)


def _put_link(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = _LINK.judged(call)
    _require_global(body)
    properties = body["properties"]
    _require(twin, properties["virtualNetwork"]["id"], NETWORKS)
    if there and key(there["properties"]["virtualNetwork"]["id"]) != key(properties["virtualNetwork"]["id"]):
        raise body_checks.refused(
            "The virtual network of a link cannot be changed.", "properties.virtualNetwork", "BadRequest"
        )
    _check_overlap(twin, call.id, properties["virtualNetwork"]["id"])
    properties.setdefault("registrationEnabled", False)
    properties["virtualNetworkLinkState"] = "Completed"
    return {**body, "etag": _etag()}


def _check_overlap(twin: TenantTwin, link_id: str, network: str) -> None:
    """Refuses a link of a network that is linked to another zone of the same name.

    Code and message: https://github.com/microsoft-foundry/foundry-samples/pull/214; no source says whether zones below
    one another overlap too, so they are accepted.

    Raises:
        ArmError: 400 BadRequest.
    """
    zone = Id.parse(link_id).parent
    name = Id.parse(zone).name.lower()
    for other in list(twin.resources.values()):
        if other["type"] != LINKS or key(other["properties"]["virtualNetwork"]["id"]) != key(network):
            continue
        theirs = Id.parse(other["id"]).parent
        if key(theirs) != key(zone) and Id.parse(theirs).name.lower() == name:
            message = (
                "A virtual network cannot be linked to multiple zones with overlapping namespaces. You tried to link "
                f"virtual network with '{name}' and '{name}' zones."
            )
            raise ArmError(400, "BadRequest", message)


def _require_global(body: Document) -> None:
    if body["location"] != "global":
        raise body_checks.refused(
            "The location of a private DNS zone, and of its links, is global.", "location", "BadRequest"
        )


def _require(twin: TenantTwin, resource_id: str, type_: str) -> None:
    found = twin.find(resource_id)
    if found is None or (type_ and found["type"].lower() != type_.lower()):
        message = f"Resource {resource_id} referenced by the request was not found."
        raise ArmError(400, "InvalidResourceReference", message)


def _network(prefix: str, path: str) -> Any:
    try:
        return ipaddress.ip_network(prefix)
    except ValueError:
        raise body_checks.refused(
            f"The address prefix {prefix!r} is not valid.", path, "InvalidAddressPrefixFormat"
        ) from None


def _etag() -> str:
    return f'W/"{uuid.uuid4()}"'
