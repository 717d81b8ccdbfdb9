"""EC2's networks: VPCs, subnets, route tables and their associations, VPC endpoints, flow logs."""

from collections.abc import Mapping
from typing import Any

from llmops_twins.plugins.aws.calls import AwsError, ResourceOperation
from llmops_twins.plugins.aws.kinds import AwsResourceKind

VPC_ATTRIBUTES = ("enableDnsSupport", "enableDnsHostnames", "enableNetworkAddressUsageMetrics")
ENDPOINT_LISTS = {"subnetIds": "SubnetIds", "securityGroupIds": "SecurityGroupIds", "routeTableIds": "RouteTableIds"}


class Vpc(AwsResourceKind):
    """A VPC: each attribute has its own call; AWS creates a route table, an ACL and a security group with it."""

    def complete(self, work: ResourceOperation, answer: dict[str, Any]) -> None:
        self.await_ready(work)
        wanted = {n: work.inputs[n] for n in VPC_ATTRIBUTES if n in work.inputs}
        for name, value in wanted.items():
            if value != (name == "enableDnsSupport"):  # AWS's default
                self._set(work, name, value)

    def properties_of(self, work: ResourceOperation, answer: dict[str, Any]) -> dict[str, Any]:
        found = super().properties_of(work, answer)
        for name in VPC_ATTRIBUTES:
            member = name[0].upper() + name[1:]
            described = _quietly(work, "DescribeVpcAttribute", VpcId=work.id, Attribute=name)
            found[name] = described.get(member, {}).get("Value", False)
        tables = self._of_vpc(work, "DescribeRouteTables", "RouteTables", {"association.main": "true"})
        acls = self._of_vpc(work, "DescribeNetworkAcls", "NetworkAcls", {"default": "true"})
        groups = self._of_vpc(work, "DescribeSecurityGroups", "SecurityGroups", {"group-name": "default"})
        table = tables.get("RouteTableId", "")
        return found | {
            "mainRouteTableId": table,
            "defaultRouteTableId": table,
            "defaultNetworkAclId": acls.get("NetworkAclId", ""),
            "defaultSecurityGroupId": groups.get("GroupId", ""),
        }

    def change(self, work: ResourceOperation) -> dict[str, Any]:
        for name in VPC_ATTRIBUTES:
            if name in work.changed:
                self._set(work, name, bool(work.inputs.get(name)))
        return super().change(work)

    def readable(self, work: ResourceOperation) -> set[str]:
        return super().readable(work) | {*VPC_ATTRIBUTES, *work.rules.outputs}

    def _set(self, work: ResourceOperation, name: str, value: bool) -> None:
        member = name[0].upper() + name[1:]
        parameters: dict[str, Any] = {"VpcId": work.id, member: {"Value": value}}
        work.call("ec2", "ModifyVpcAttribute", **parameters)

    @staticmethod
    def _of_vpc(work: ResourceOperation, operation: str, member: str, filters: Mapping[str, str]) -> dict[str, Any]:
        wanted = [{"Name": n, "Values": [v]} for n, v in {"vpc-id": work.id, **filters}.items()]
        return next(iter(work.call("ec2", operation, Filters=wanted)[member]), {})


class Subnet(AwsResourceKind):
    """A subnet; mapping public addresses on launch is a separate call."""

    def complete(self, work: ResourceOperation, answer: dict[str, Any]) -> None:
        self.await_ready(work)
        if work.inputs.get("mapPublicIpOnLaunch"):
            self._set(work)

    def properties_of(self, work: ResourceOperation, answer: dict[str, Any]) -> dict[str, Any]:
        names = answer.get("PrivateDnsNameOptionsOnLaunch", {})
        return super().properties_of(work, answer) | {
            "enableResourceNameDnsARecordOnLaunch": bool(names.get("EnableResourceNameDnsARecord")),
            "enableResourceNameDnsAaaaRecordOnLaunch": bool(names.get("EnableResourceNameDnsAAAARecord")),
            "privateDnsHostnameTypeOnLaunch": names.get("HostnameType", "ip-name"),
            "enableDns64": bool(answer.get("EnableDns64")),
        }

    def change(self, work: ResourceOperation) -> dict[str, Any]:
        found = super().change(work)
        if "mapPublicIpOnLaunch" not in work.changed:
            return found
        self._set(work)
        return self.state_after(work)

    @staticmethod
    def _set(work: ResourceOperation) -> None:
        public = {"Value": bool(work.inputs.get("mapPublicIpOnLaunch"))}
        work.call("ec2", "ModifySubnetAttribute", SubnetId=work.id, MapPublicIpOnLaunch=public)


class RouteTable(AwsResourceKind):
    """A route table without routes: those that AWS adds are not returned."""

    def properties_of(self, work: ResourceOperation, answer: dict[str, Any]) -> dict[str, Any]:
        found = super().properties_of(work, answer)
        found.pop("routes", None)
        found["propagatingVgws"] = [v["GatewayId"] for v in answer.get("PropagatingVgws", [])]
        return found

    def call_delete(self, work: ResourceOperation) -> None:
        for association in (self.call_read(work) or {}).get("Associations", []):
            if not association.get("Main"):
                _quietly(work, "DisassociateRouteTable", AssociationId=association["RouteTableAssociationId"])
        super().call_delete(work)


class RouteTableAssociation(AwsResourceKind):
    """A subnet's or gateway's route table. Its id changes with the table."""

    def call_read(self, work: ResourceOperation) -> dict[str, Any] | None:
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

    def find(self, work: ResourceOperation) -> dict[str, Any] | None:
        work.state = {**self.recorded(work.id), **work.state}
        answer = self.call_read(work)
        if answer is None:
            return None
        work.id = answer["RouteTableAssociationId"]
        return self.properties_of(work, answer)

    def change(self, work: ResourceOperation) -> dict[str, Any]:
        association = self.call_read(work)
        if association is None:
            work.id = self.call_create(work)["AssociationId"]
        else:
            place = {
                "AssociationId": association["RouteTableAssociationId"],
                "RouteTableId": work.inputs["routeTableId"],
            }
            work.id = work.call("ec2", "ReplaceRouteTableAssociation", **place)["NewAssociationId"]
        return self.state_after(work)

    def call_delete(self, work: ResourceOperation) -> None:
        association = self.call_read(work)
        if association:
            work.call("ec2", "DisassociateRouteTable", AssociationId=association["RouteTableAssociationId"])

    def readable(self, work: ResourceOperation) -> set[str]:
        return {"subnetId", "gatewayId", "routeTableId"}


class VpcEndpoint(AwsResourceKind):
    """Creates VPC endpoints and waits until they are ready; adds and removes members of their lists one by one."""

    def complete(self, work: ResourceOperation, answer: dict[str, Any]) -> None:
        self.await_ready(work)

    def properties_of(self, work: ResourceOperation, answer: dict[str, Any]) -> dict[str, Any]:
        answer = {**answer, "SecurityGroupIds": [g["GroupId"] for g in answer.get("Groups", [])]}
        found = super().properties_of(work, answer)
        found |= {
            "state": str(answer.get("State", "")).lower(),
            "vpcEndpointType": answer.get("VpcEndpointType") or "Gateway",
        }
        if found["vpcEndpointType"] == "Gateway":
            filters = [{"Name": "prefix-list-name", "Values": [answer["ServiceName"]]}]
            lists = _quietly(work, "DescribePrefixLists", Filters=filters).get("PrefixLists", [])
            if lists:
                found |= {"prefixListId": lists[0]["PrefixListId"], "cidrBlocks": lists[0].get("Cidrs", [])}
        return found

    def call_update(self, work: ResourceOperation) -> None:
        parameters: dict[str, Any] = {"VpcEndpointId": work.id}
        for name, api in ENDPOINT_LISTS.items():
            old, new = (set(d.get(name) or []) for d in (work.state, work.inputs))
            if name in work.changed and new - old:
                parameters[f"Add{api}"] = sorted(new - old)
            if name in work.changed and old - new:
                parameters[f"Remove{api}"] = sorted(old - new)
        if "policy" in work.changed:
            policy = work.inputs.get("policy")
            parameters |= {"PolicyDocument": policy} if policy else {"ResetPolicy": True}
        for name, api in (("privateDnsEnabled", "PrivateDnsEnabled"), ("ipAddressType", "IpAddressType")):
            if name in work.changed and work.inputs.get(name) is not None:
                parameters[api] = work.inputs[name]
        work.call("ec2", "ModifyVpcEndpoint", **parameters)

    def call_delete(self, work: ResourceOperation) -> None:
        answer = work.call("ec2", "DeleteVpcEndpoints", VpcEndpointIds=[work.id])
        _raise_unsuccessful(work, "DeleteVpcEndpoints", answer)

    def find(self, work: ResourceOperation) -> dict[str, Any] | None:
        found = super().find(work)
        return None if found and found["state"] in ("deleted", "deleting") else found

    def readable(self, work: ResourceOperation) -> set[str]:
        return super().readable(work) | {"securityGroupIds", "prefixListId", "cidrBlocks", "state"}


class FlowLog(AwsResourceKind):
    """Sends a flow log's VPC as the resource to record, and its destination without the `:*` of log groups' ARNs."""

    def parameters(self, work: ResourceOperation, operation: str) -> dict[str, Any]:
        found = super().parameters(work, operation)
        destination = str(found.get("LogDestination", "")).removesuffix(":*")
        if destination:
            found["LogDestination"] = destination
        return {**found, "ResourceIds": [work.inputs["vpcId"]], "ResourceType": "VPC"}

    def id_after_create(self, work: ResourceOperation, answer: dict[str, Any]) -> str:
        _raise_unsuccessful(work, "CreateFlowLogs", answer)
        return answer["FlowLogIds"][0]

    def properties_of(self, work: ResourceOperation, answer: dict[str, Any]) -> dict[str, Any]:
        return {**super().properties_of(work, answer), "vpcId": answer["ResourceId"]}

    def call_delete(self, work: ResourceOperation) -> None:
        _raise_unsuccessful(work, "DeleteFlowLogs", work.call("ec2", "DeleteFlowLogs", FlowLogIds=[work.id]))

    def readable(self, work: ResourceOperation) -> set[str]:
        return super().readable(work) | {"vpcId"}


def _raise_unsuccessful(work: ResourceOperation, operation: str, answer: dict[str, Any]) -> None:
    for item in answer.get("Unsuccessful", []):
        error = item.get("Error", {})
        raise AwsError("EC2", operation, error.get("Code", ""), error.get("Message", ""), 200, "")


def _quietly(work: ResourceOperation, operation: str, **parameters: Any) -> dict[str, Any]:
    """Makes a call, and returns an empty response if it is refused for any reason but a missing permission."""
    try:
        return work.call("ec2", operation, **parameters)
    except AwsError as error:
        if error.code in ("UnauthorizedOperation", "AccessDenied"):
            raise
        return {}
