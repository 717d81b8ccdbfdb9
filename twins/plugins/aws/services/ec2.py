"""EC2's networks: VPCs, subnets, endpoints, flow logs; `ec2_routes` and `ec2_security` have the rest."""

from collections.abc import Mapping
from typing import Any

from twins.plugins.aws.calls import AwsError, Work
from twins.plugins.aws.kinds import MINUTE, Kind, Wait
from twins.plugins.aws.services.ec2_routes import KINDS as ROUTES
from twins.plugins.aws.services.ec2_routes import quietly
from twins.plugins.aws.services.ec2_security import KINDS as SECURITY
from twins.plugins.aws.services.ec2_tags import Ec2Tags
from twins.plugins.plugin import ProviderError

VPC_ATTRIBUTES = ("enableDnsSupport", "enableDnsHostnames", "enableNetworkAddressUsageMetrics")
SUBNET_ATTRIBUTES = (
    "assignIpv6AddressOnCreation",
    "enableDns64",
    "enableResourceNameDnsARecordOnLaunch",
    "enableResourceNameDnsAaaaRecordOnLaunch",
    "mapPublicIpOnLaunch",
    "privateDnsHostnameTypeOnLaunch",
)
SUBNET_API = {
    "enableResourceNameDnsARecordOnLaunch": "EnableResourceNameDnsARecordOnLaunch",
    "enableResourceNameDnsAaaaRecordOnLaunch": "EnableResourceNameDnsAAAARecordOnLaunch",
}
ENDPOINT_LISTS = {"subnetIds": "SubnetIds", "securityGroupIds": "SecurityGroupIds", "routeTableIds": "RouteTableIds"}
LOGGED = {
    "vpcId": "VPC",
    "subnetId": "Subnet",
    "eniId": "NetworkInterface",
    "transitGatewayId": "TransitGateway",
    "transitGatewayAttachmentId": "TransitGatewayAttachment",
}


class Vpc(Kind):
    """A VPC: each attribute has a call of its own; AWS makes a route table, an ACL and a group with it."""

    def complete(self, work: Work, answer: dict[str, Any]) -> None:
        self.await_ready(work)
        wanted = {n: work.inputs[n] for n in VPC_ATTRIBUTES if n in work.inputs}
        for name, value in wanted.items():
            if value != (name == "enableDnsSupport"):  # what AWS gives
                self._set(work, name, value)

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        found = super().properties_of(work, answer)
        for name in VPC_ATTRIBUTES:
            member = name[0].upper() + name[1:]
            told = quietly(work, "DescribeVpcAttribute", VpcId=work.id, Attribute=name)
            found[name] = told.get(member, {}).get("Value", False)
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

    def change(self, work: Work) -> dict[str, Any]:
        ipv6 = [n for n in work.changed if n.startswith(("ipv6", "assignGenerated"))]
        if ipv6:
            raise ProviderError(f"the stand-in plugin does not change {', '.join(sorted(ipv6))} of a VPC")
        if "instanceTenancy" in work.changed:
            work.call("ec2", "ModifyVpcTenancy", VpcId=work.id, InstanceTenancy=work.inputs["instanceTenancy"])
        for name in VPC_ATTRIBUTES:
            if name in work.changed:
                self._set(work, name, bool(work.inputs.get(name)))
        return super().change(work)

    def readable(self, work: Work) -> set[str]:
        return super().readable(work) | {*VPC_ATTRIBUTES, *work.rules.outputs}

    def _set(self, work: Work, name: str, value: bool) -> None:
        member = name[0].upper() + name[1:]
        parameters: dict[str, Any] = {"VpcId": work.id, member: {"Value": value}}
        work.call("ec2", "ModifyVpcAttribute", **parameters)

    @staticmethod
    def _of_vpc(work: Work, operation: str, member: str, filters: Mapping[str, str]) -> dict[str, Any]:
        wanted = [{"Name": n, "Values": [v]} for n, v in {"vpc-id": work.id, **filters}.items()]
        return next(iter(work.call("ec2", operation, Filters=wanted)[member]), {})


class Subnet(Kind):
    """A subnet: one call for each attribute."""

    def complete(self, work: Work, answer: dict[str, Any]) -> None:
        self.await_ready(work)
        for name in SUBNET_ATTRIBUTES:
            if work.inputs.get(name) not in (None, False, "ip-name"):
                self._set(work, name)

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        names = answer.get("PrivateDnsNameOptionsOnLaunch", {})
        return super().properties_of(work, answer) | {
            "enableResourceNameDnsARecordOnLaunch": bool(names.get("EnableResourceNameDnsARecord")),
            "enableResourceNameDnsAaaaRecordOnLaunch": bool(names.get("EnableResourceNameDnsAAAARecord")),
            "privateDnsHostnameTypeOnLaunch": names.get("HostnameType", "ip-name"),
            "enableDns64": bool(answer.get("EnableDns64")),
        }

    def change(self, work: Work) -> dict[str, Any]:
        if "ipv6CidrBlock" in work.changed:
            raise ProviderError("the stand-in plugin does not change ipv6CidrBlock of a subnet")
        for name in SUBNET_ATTRIBUTES:
            if name in work.changed:
                self._set(work, name)
        return super().change(work)

    def _set(self, work: Work, name: str) -> None:
        member = SUBNET_API.get(name, name[0].upper() + name[1:])
        value = work.inputs.get(name)
        parameters: dict[str, Any] = {"SubnetId": work.id}
        parameters[member] = value if name.startswith("private") else {"Value": bool(value)}
        work.call("ec2", "ModifySubnetAttribute", **parameters)


class VpcEndpoint(Kind):
    """A VPC endpoint."""

    def complete(self, work: Work, answer: dict[str, Any]) -> None:
        self.await_ready(work)

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        answer = {**answer, "SecurityGroupIds": [g["GroupId"] for g in answer.get("Groups", [])]}
        found = super().properties_of(work, answer)
        owner = answer.get("OwnerId") or work.session.account
        found |= {
            "arn": f"arn:{work.session.partition}:ec2:{work.region}:{owner}:vpc-endpoint/{work.id}",
            "ownerId": owner,
            "state": str(answer.get("State", "")).lower(),
            "vpcEndpointType": answer.get("VpcEndpointType") or "Gateway",
        }
        if found["vpcEndpointType"] == "Gateway":
            filters = [{"Name": "prefix-list-name", "Values": [answer["ServiceName"]]}]
            told = quietly(work, "DescribePrefixLists", Filters=filters).get("PrefixLists", [])
            if told:
                found |= {"prefixListId": told[0]["PrefixListId"], "cidrBlocks": told[0].get("Cidrs", [])}
        return found

    def call_update(self, work: Work) -> None:
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

    def call_delete(self, work: Work) -> None:
        told = work.call("ec2", "DeleteVpcEndpoints", VpcEndpointIds=[work.id])
        _raise_unsuccessful(work, "DeleteVpcEndpoints", told)

    def find(self, work: Work) -> dict[str, Any] | None:
        found = super().find(work)
        return None if found and found["state"] in ("deleted", "deleting") else found

    def readable(self, work: Work) -> set[str]:
        return super().readable(work) | {"securityGroupIds", "prefixListId", "cidrBlocks", "arn", "ownerId", "state"}


class FlowLog(Kind):
    """A flow log of a VPC, a subnet or a network interface."""

    def parameters(self, work: Work, operation: str) -> dict[str, Any]:
        found = super().parameters(work, operation)
        name = next(n for n in LOGGED if work.inputs.get(n))
        destination = str(found.get("LogDestination", "")).removesuffix(":*")
        if destination:
            found["LogDestination"] = destination
        return {**found, "ResourceIds": [work.inputs[name]], "ResourceType": LOGGED[name]}

    def id_after_create(self, work: Work, answer: dict[str, Any]) -> str:
        _raise_unsuccessful(work, "CreateFlowLogs", answer)
        return answer["FlowLogIds"][0]

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        found = super().properties_of(work, answer)
        beginning = {"vpc": "vpcId", "subnet": "subnetId", "eni": "eniId"}
        name = beginning.get(answer["ResourceId"].partition("-")[0], "transitGatewayId")
        arn = f"arn:{work.session.partition}:ec2:{work.region}:{work.session.account}:vpc-flow-log/{work.id}"
        return {**found, name: answer["ResourceId"], "arn": arn}

    def call_delete(self, work: Work) -> None:
        _raise_unsuccessful(work, "DeleteFlowLogs", work.call("ec2", "DeleteFlowLogs", FlowLogIds=[work.id]))

    def readable(self, work: Work) -> set[str]:
        return super().readable(work) | {*LOGGED, "arn"}


def _raise_unsuccessful(work: Work, operation: str, answer: dict[str, Any]) -> None:
    for item in answer.get("Unsuccessful", []):
        error = item.get("Error", {})
        raise AwsError("EC2", operation, error.get("Code", ""), error.get("Message", ""), 200, "")


KINDS = (
    Vpc(
        "aws:ec2/vpc:Vpc",
        "ec2",
        "EC2 VPC",
        "{vpcId}",
        create="CreateVpc",
        read="DescribeVpcs",
        delete="DeleteVpc",
        identity={"VpcId": "{id}"},
        read_identity={"VpcIds": ["{id}"]},
        pick="Vpcs[0]",
        renames={"assignGeneratedIpv6CidrBlock": "AmazonProvidedIpv6CidrBlock"},
        outputs={"arn": "arn:{partition}:ec2:{region}:{account}:vpc/{id}", "ownerId": "{account}"},
        tags=Ec2Tags.of("vpc"),
        gone=("InvalidVpcID.NotFound",),
        retry_delete=("DependencyViolation",),
        wait=Wait("State", ("available",), ("pending",)),
        wait_gone=20 * MINUTE,
    ),
    Subnet(
        "aws:ec2/subnet:Subnet",
        "ec2",
        "EC2 Subnet",
        "{subnetId}",
        create="CreateSubnet",
        read="DescribeSubnets",
        delete="DeleteSubnet",
        identity={"SubnetId": "{id}"},
        read_identity={"SubnetIds": ["{id}"]},
        pick="Subnets[0]",
        prefix="Subnet",
        tags=Ec2Tags.of("subnet"),
        gone=("InvalidSubnetID.NotFound",),
        retry_delete=("DependencyViolation",),
        wait=Wait("State", ("available",), ("pending",)),
        wait_gone=20 * MINUTE,
    ),
    VpcEndpoint(
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        "ec2",
        "EC2 VPC Endpoint",
        "{vpcEndpointId}",
        create="CreateVpcEndpoint",
        read="DescribeVpcEndpoints",
        update="ModifyVpcEndpoint",
        identity={"VpcEndpointId": "{id}"},
        read_identity={"VpcEndpointIds": ["{id}"]},
        pick="VpcEndpoints[0]",
        prefix="VpcEndpoint",
        renames={"policy": "PolicyDocument", "subnetConfigurations": "SubnetConfigurations", "autoAccept": "-"},
        tags=Ec2Tags.of("vpc-endpoint"),
        gone=("InvalidVpcEndpointId.NotFound", "InvalidVpcEndpoint.NotFound"),
        wait=Wait("State", ("available", "pendingAcceptance"), ("pending",)),
        wait_gone=10 * MINUTE,
    ),
    FlowLog(
        "aws:ec2/flowLog:FlowLog",
        "ec2",
        "EC2 Flow Log",
        "{flowLogId}",
        create="CreateFlowLogs",
        read="DescribeFlowLogs",
        identity={},
        read_identity={"FlowLogIds": ["{id}"]},
        pick="FlowLogs[0]",
        renames={"iamRoleArn": "DeliverLogsPermissionArn"},
        tags=Ec2Tags.of("vpc-flow-log"),
        gone=("InvalidFlowLogId.NotFound",),
        retry=("InvalidParameter: Unable to assume given IAM role",),
    ),
    *ROUTES,
    *SECURITY,
)
