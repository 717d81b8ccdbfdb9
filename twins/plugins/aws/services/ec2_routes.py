"""EC2's route tables and their associations."""

from typing import Any

from twins.plugins.aws.calls import AwsError, Work
from twins.plugins.aws.kinds import Kind
from twins.plugins.aws.services.ec2_tags import Ec2Tags
from twins.plugins.plugin import ProviderError

ROUTE_TARGETS = {
    "carrierGatewayId": "CarrierGatewayId",
    "coreNetworkArn": "CoreNetworkArn",
    "egressOnlyGatewayId": "EgressOnlyInternetGatewayId",
    "gatewayId": "GatewayId",
    "localGatewayId": "LocalGatewayId",
    "natGatewayId": "NatGatewayId",
    "networkInterfaceId": "NetworkInterfaceId",
    "transitGatewayId": "TransitGatewayId",
    "vpcEndpointId": "VpcEndpointId",
    "vpcPeeringConnectionId": "VpcPeeringConnectionId",
}
ROUTE_DESTINATIONS = {
    "cidrBlock": "DestinationCidrBlock",
    "ipv6CidrBlock": "DestinationIpv6CidrBlock",
    "destinationPrefixListId": "DestinationPrefixListId",
}


class RouteTable(Kind):
    """A route table with its routes; those that AWS makes by itself are not told."""

    def complete(self, work: Work, answer: dict[str, Any]) -> None:
        for route in work.inputs.get("routes") or []:
            self._route(work, "CreateRoute", route)

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        found = super().properties_of(work, answer)
        found.pop("routes", None)
        owner = answer.get("OwnerId") or work.session.account
        routes = [_told_route(r) for r in answer.get("Routes", []) if _is_own(r)]
        return {
            **found,
            "ownerId": owner,
            "arn": f"arn:{work.session.partition}:ec2:{work.region}:{owner}:route-table/{work.id}",
            "propagatingVgws": [v["GatewayId"] for v in answer.get("PropagatingVgws", [])],
            **({"routes": routes} if routes else {}),
        }

    def change(self, work: Work) -> dict[str, Any]:
        if "routes" in work.changed:
            old, new = ({_destination(r): r for r in d.get("routes") or []} for d in (work.state, work.inputs))
            for key in old:
                if key not in new:
                    work.call("ec2", "DeleteRoute", RouteTableId=work.id, **dict([key]))
            for key, route in new.items():
                if key not in old:
                    self._route(work, "CreateRoute", route)
                elif _plain(old[key]) != _plain(route):
                    self._route(work, "ReplaceRoute", route)
        return super().change(work)

    def call_delete(self, work: Work) -> None:
        for association in (self.call_read(work) or {}).get("Associations", []):
            if not association.get("Main"):
                quietly(work, "DisassociateRouteTable", AssociationId=association["RouteTableAssociationId"])
        super().call_delete(work)

    @staticmethod
    def _route(work: Work, operation: str, route: dict[str, Any]) -> None:
        targets = {api: route[n] for n, api in ROUTE_TARGETS.items() if route.get(n)}
        destination = [api for n, api in ROUTE_DESTINATIONS.items() if route.get(n)]
        if len(targets) != 1 or len(destination) != 1:
            raise ProviderError("a route wants exactly one destination and one target")
        work.call("ec2", operation, RouteTableId=work.id, **dict([_destination(route)]), **targets)


class Association(Kind):
    """A subnet's or gateway's route table. AWS gives it another id when the table changes."""

    def call_read(self, work: Work) -> dict[str, Any] | None:
        known = self.values(work)
        filters = [{"Name": "association.route-table-association-id", "Values": [work.id]}]
        if known.get("subnetId"):
            filters = [{"Name": "association.subnet-id", "Values": [known["subnetId"]]}]
        for table in work.call("ec2", "DescribeRouteTables", Filters=filters)["RouteTables"]:
            for told in table.get("Associations", []):
                same = told["RouteTableAssociationId"] == work.id
                if same or (known.get("subnetId") and told.get("SubnetId") == known["subnetId"]):
                    return told
        return None

    def recorded(self, identity: str) -> dict[str, Any]:
        place, slash, table = identity.partition("/")
        return (
            {"subnetId" if place.startswith("subnet-") else "gatewayId": place, "routeTableId": table} if slash else {}
        )

    def find(self, work: Work) -> dict[str, Any] | None:
        work.state = {**self.recorded(work.id), **work.state}
        answer = self.call_read(work)
        if answer is None:
            return None
        work.id = answer["RouteTableAssociationId"]
        return self.properties_of(work, answer)

    def change(self, work: Work) -> dict[str, Any]:
        told = self.call_read(work)
        if told is None:
            work.id = self.call_create(work)["AssociationId"]
        else:
            place = {"AssociationId": told["RouteTableAssociationId"], "RouteTableId": work.inputs["routeTableId"]}
            work.id = work.call("ec2", "ReplaceRouteTableAssociation", **place)["NewAssociationId"]
        return self.state_after(work)

    def call_delete(self, work: Work) -> None:
        told = self.call_read(work)
        if told:
            work.call("ec2", "DisassociateRouteTable", AssociationId=told["RouteTableAssociationId"])

    def readable(self, work: Work) -> set[str]:
        return {"subnetId", "gatewayId", "routeTableId"}


def quietly(work: Work, operation: str, **parameters: Any) -> dict[str, Any]:
    """A call whose refusal only means that there is nothing to tell."""
    try:
        return work.call("ec2", operation, **parameters)
    except AwsError as error:
        if error.code in ("UnauthorizedOperation", "AccessDenied"):
            raise
        return {}


def _destination(route: dict[str, Any]) -> tuple[str, str]:
    return next((api, route[name]) for name, api in ROUTE_DESTINATIONS.items() if route.get(name))


def _told_route(route: dict[str, Any]) -> dict[str, Any]:
    pairs = {**ROUTE_DESTINATIONS, **ROUTE_TARGETS}
    told = {name: route[api] for name, api in pairs.items() if route.get(api)}
    if told.get("gatewayId", "").startswith("vpce-"):
        told["vpcEndpointId"] = told.pop("gatewayId")
    return told


def _is_own(route: dict[str, Any]) -> bool:
    gateway = route.get("GatewayId") or ""
    through_list = bool(route.get("DestinationPrefixListId")) and gateway.startswith("vpce-")
    return gateway != "local" and route.get("Origin") != "EnableVgwRoutePropagation" and not through_list


def _plain(route: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in route.items() if value}


KINDS = (
    RouteTable(
        "aws:ec2/routeTable:RouteTable",
        "ec2",
        "EC2 Route Table",
        "{routeTableId}",
        create="CreateRouteTable",
        read="DescribeRouteTables",
        delete="DeleteRouteTable",
        identity={"RouteTableId": "{id}"},
        read_identity={"RouteTableIds": ["{id}"]},
        pick="RouteTables[0]",
        tags=Ec2Tags.of("route-table"),
        gone=("InvalidRouteTableID.NotFound",),
    ),
    Association(
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        "ec2",
        "EC2 Route Table Association",
        "{associationId}",
        create="AssociateRouteTable",
        read="DescribeRouteTables",
        identity={},
        gone=("InvalidAssociationID.NotFound", "InvalidRouteTableID.NotFound"),
        retry=("InvalidRouteTableID.NotFound",),
    ),
)
