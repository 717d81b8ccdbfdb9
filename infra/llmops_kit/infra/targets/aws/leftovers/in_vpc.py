"""Removals of a VPC and of what is in it; all of them have the stack's tags from the moment of their creation."""

from collections.abc import Mapping
from typing import Any

from llmops_kit.clouds.aws.errors import refused
from llmops_kit.infra.targets.aws.leftovers.leftover import Leftover, Removal, wait_gone


def _filters(left: Leftover, ours: bool = True, **wanted: str) -> list[dict[str, Any]]:
    """Returns EC2's filters for the stack's resources with some properties."""
    tags: Mapping[str, str] = left.tags if ours else {}
    given = {**{f"tag:{key}": value for key, value in tags.items()}, **wanted}
    return [{"Name": name.replace("__", ".").replace("_", "-"), "Values": [value]} for name, value in given.items()]


def _vpc(left: Leftover) -> list[str]:
    """Removes VPCs of the same name without subnets; another component of the program has one of another name."""
    ec2, gone = left.session("ec2"), []
    name = {"Name": "tag:Name", "Values": [left.inputs["tags"]["Name"]]}
    where = [name, *_filters(left, cidr=left.inputs["cidrBlock"])]
    for vpc in ec2.describe_vpcs(Filters=where)["Vpcs"]:
        id_ = vpc["VpcId"]
        holds = ec2.describe_subnets(Filters=_filters(left, ours=False, vpc_id=id_))["Subnets"]
        if not holds and not refused(ec2.delete_vpc, "DependencyViolation")(VpcId=id_):
            gone.append(id_)
    return gone


def _subnet(left: Leftover) -> list[str]:
    """Removes a subnet that has no table of routes."""
    ec2, gone, wanted = left.session("ec2"), [], left.inputs
    where = _filters(left, vpc_id=wanted["vpcId"], cidr_block=wanted["cidrBlock"])
    for subnet in ec2.describe_subnets(Filters=where)["Subnets"]:
        id_ = subnet["SubnetId"]
        routed = ec2.describe_route_tables(Filters=_filters(left, ours=False, association__subnet_id=id_))
        if not routed["RouteTables"] and not refused(ec2.delete_subnet, "DependencyViolation")(SubnetId=id_):
            gone.append(id_)
    return gone


def _security_group(left: Leftover) -> list[str]:
    """Removes a security group that has none of the stack's rules."""
    ec2, gone, wanted = left.session("ec2"), [], left.inputs
    where = _filters(left, vpc_id=wanted["vpcId"], group_name=wanted["name"])
    for group in ec2.describe_security_groups(Filters=where)["SecurityGroups"]:
        id_ = group["GroupId"]
        if not _rules(left, id_) and not refused(ec2.delete_security_group, "DependencyViolation")(GroupId=id_):
            gone.append(id_)
    return gone


def _route_table(left: Leftover) -> list[str]:
    """Removes tables of routes that no subnet and no VPC endpoint has."""
    ec2, gone = left.session("ec2"), []
    for table in ec2.describe_route_tables(Filters=_filters(left, vpc_id=left.inputs["vpcId"]))["RouteTables"]:
        id_ = table["RouteTableId"]
        routed = [route for route in table["Routes"] if route.get("GatewayId", "local") != "local"]
        if not table["Associations"] and not routed:
            ec2.delete_route_table(RouteTableId=id_)
            gone.append(id_)
    return gone


def _association(left: Leftover) -> list[str]:
    """Ends a subnet's association with the table that it gets."""
    ec2, subnet, table = left.session("ec2"), left.inputs["subnetId"], left.inputs["routeTableId"]
    found = ec2.describe_route_tables(Filters=_filters(left, association__subnet_id=subnet, route_table_id=table))
    ids = [
        each["RouteTableAssociationId"]
        for routes in found["RouteTables"]
        for each in routes["Associations"]
        if each.get("SubnetId") == subnet
    ]
    for id_ in ids:
        ec2.disassociate_route_table(AssociationId=id_)
    return ids


def _endpoint(left: Leftover) -> list[str]:
    """Removes a VPC endpoint of the same service."""
    ec2, wanted = left.session("ec2"), left.inputs
    where = _filters(left, vpc_id=wanted["vpcId"], service_name=wanted["serviceName"])

    def look() -> list[str]:
        return [each["VpcEndpointId"] for each in ec2.describe_vpc_endpoints(Filters=where)["VpcEndpoints"]]

    if found := look():
        ec2.delete_vpc_endpoints(VpcEndpointIds=found)
        wait_gone(f"VPC endpoint {found[0]}", look)
    return found


def _flow_log(left: Leftover) -> list[str]:
    ec2 = left.session("ec2")
    found = ec2.describe_flow_logs(Filter=_filters(left, resource_id=left.inputs["vpcId"]))["FlowLogs"]
    ids = [each["FlowLogId"] for each in found]
    if ids:
        ec2.delete_flow_logs(FlowLogIds=ids)
    return ids


def _rule(left: Leftover, egress: bool) -> list[str]:
    """Revokes the rule of the stack's group that has the same description."""
    ec2, group = left.session("ec2"), left.inputs["securityGroupId"]
    same = [rule for rule in _rules(left, group) if rule["Description"] == left.inputs["description"]]
    ids = [rule["SecurityGroupRuleId"] for rule in same if rule["IsEgress"] is egress]
    revoke = ec2.revoke_security_group_egress if egress else ec2.revoke_security_group_ingress
    if ids:
        revoke(GroupId=group, SecurityGroupRuleIds=ids)
    return ids


def _rules(left: Leftover, group: str) -> list[dict[str, Any]]:
    """Returns the rules of a group that have a description, as all of the stack's have."""
    answer = left.session("ec2").describe_security_group_rules(Filters=_filters(left, ours=False, group_id=group))
    return [rule for rule in answer["SecurityGroupRules"] if rule.get("Description")]


def _egress(left: Leftover) -> list[str]:
    return _rule(left, egress=True)


def _ingress(left: Leftover) -> list[str]:
    return _rule(left, egress=False)


IN_VPC: dict[str, Removal] = {
    "aws:ec2/vpc:Vpc": _vpc,
    "aws:ec2/subnet:Subnet": _subnet,
    "aws:ec2/securityGroup:SecurityGroup": _security_group,
    "aws:ec2/routeTable:RouteTable": _route_table,
    "aws:ec2/routeTableAssociation:RouteTableAssociation": _association,
    "aws:ec2/vpcEndpoint:VpcEndpoint": _endpoint,
    "aws:ec2/flowLog:FlowLog": _flow_log,
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _egress,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _ingress,
}
"""Type -> its removal."""
