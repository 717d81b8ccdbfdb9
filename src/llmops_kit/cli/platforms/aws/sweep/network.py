"""Finds the kit's resources in private VPCs. EC2's lists include tags."""

from collections.abc import Iterator
from typing import Any

from llmops_kit.cli.platforms.aws.removal import tag_map
from llmops_kit.cli.platforms.aws.sweep.look import AwsLook
from llmops_kit.cli.platforms.sweep import Thing
from llmops_kit.clouds.aws.names import PROJECT_TAG

# Kind -> operation, key of the answer, id of an entry, its part of an ARN.
_LISTS = {
    "flow log": ("describe_flow_logs", "FlowLogs", "FlowLogId", "vpc-flow-log"),
    "VPC endpoint": ("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId", "vpc-endpoint"),
    "security group": ("describe_security_groups", "SecurityGroups", "GroupId", "security-group"),
    "subnet": ("describe_subnets", "Subnets", "SubnetId", "subnet"),
    "route table": ("describe_route_tables", "RouteTables", "RouteTableId", "route-table"),
    "VPC": ("describe_vpcs", "Vpcs", "VpcId", "vpc"),
}


def things(look: AwsLook) -> Iterator[Thing]:
    """Yields the project's network resources in the caller's region."""
    caller = look.clients.caller
    for kind, (operation, key, field, path) in _LISTS.items():
        filters = [{"Name": f"tag:{PROJECT_TAG}", "Values": [look.project]}]
        named = "Filter" if operation == "describe_flow_logs" else "Filters"
        for entry in look.pages("ec2", operation, key, **{named: filters}):
            arn = f"arn:{caller.partition}:ec2:{caller.region}:{caller.account}:{path}/{entry[field]}"
            yield look.thing(kind, entry[field], arn, tag_map(entry.get("Tags", [])), **_more(look, entry))


def _more(look: AwsLook, entry: dict[str, Any]) -> dict[str, Any]:
    if entry.get("VpcEndpointType") == "Interface":
        zones = len(entry.get("SubnetIds", []))
        price = look.prices.other("vpc_endpoint_zone_hour")
        return {"created": entry.get("CreationTimestamp"), "usd_month": look.month(price, zones)}
    return {"created": entry.get("CreationTimestamp") or entry.get("CreationTime")}
