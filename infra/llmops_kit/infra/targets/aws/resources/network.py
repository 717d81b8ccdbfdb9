"""Network of endpoints and jobs: SageMaker's own, a new private VPC, or existing subnets.

The VPC has no route to the Internet. S3 is reached by a gateway endpoint, which is free. Containers are isolated, and
call no service themselves; SageMaker pulls their images and writes their logs from outside of the VPC. So interface
endpoints, which are billed by the hour and zone, are created only for services that the settings name.
https://docs.aws.amazon.com/sagemaker/latest/dg/host-vpc.html
https://docs.aws.amazon.com/sagemaker/latest/dg/mkt-algo-model-internet-free.html
"""

import ipaddress
from dataclasses import dataclass
from typing import Any

import pulumi

from llmops_kit.clouds.aws.settings import AwsNetworkSettings
from llmops_kit.infra.targets.aws.resources.context import AwsContext
from llmops_kit.infra.targets.aws.resources.storage import AwsStorage

_HTTPS: dict[str, Any] = {"ip_protocol": "tcp", "from_port": 443, "to_port": 443}


@dataclass(frozen=True)
class AwsNetwork:
    """Ids; both empty where SageMaker's own network is used."""

    subnets: list[pulumi.Input[str]]
    security_groups: list[pulumi.Input[str]]
    ready: list[pulumi.Resource]

    def __bool__(self) -> bool:
        return bool(self.subnets)

    @property
    def ids(self) -> dict[str, list[pulumi.Input[str]]]:
        """The ids in the form of the stack's outputs."""
        return {"subnets": self.subnets, "security_groups": self.security_groups} if self else {}


def declare_network(stack: AwsContext, wanted: AwsNetworkSettings, zones: list[str], storage: AwsStorage) -> AwsNetwork:
    """Declare the VPC and its contents if `wanted` asks for one; `zones` are those of its two subnets."""
    if wanted.mode == "own":
        return _own(stack, wanted, zones, storage)
    return AwsNetwork([*wanted.subnet_ids], [*wanted.security_group_ids], [])


def _own(stack: AwsContext, wanted: AwsNetworkSettings, zones: list[str], storage: AwsStorage) -> AwsNetwork:
    from pulumi_aws import ec2  # a large module, which only this needs

    vpc = ec2.Vpc(
        stack.names.logical("vpc"),
        cidr_block=wanted.cidr,
        enable_dns_hostnames=True,
        enable_dns_support=True,
        tags=_named(stack, "vpc"),
        opts=stack.options(),
    )
    ec2.FlowLog(
        stack.names.logical("vpc-flow-log"),
        vpc_id=vpc.id,
        traffic_type="ALL",
        log_destination_type="s3",
        log_destination=storage.work.arn,  # below AWSLogs/
        max_aggregation_interval=600,
        tags=_named(stack, "flow-log"),
        opts=stack.options(depends_on=storage.work.ready),
    )
    table = ec2.RouteTable(
        stack.names.logical("private-routes"), vpc_id=vpc.id, tags=_named(stack, "private"), opts=stack.options()
    )
    subnets = _subnets(stack, wanted.cidr, zones, vpc.id, table.id)
    gateway = ec2.VpcEndpoint(
        stack.names.logical("vpc-endpoint-s3"),
        vpc_id=vpc.id,
        service_name=f"com.amazonaws.{stack.region}.s3",
        vpc_endpoint_type="Gateway",
        route_table_ids=[table.id],
        tags=_named(stack, "s3"),
        opts=stack.options(),
    )
    group = _workloads(stack, vpc.id, gateway.prefix_list_id)
    endpoints: list[pulumi.Resource] = []
    if services := wanted.interface_endpoints:
        reachable = _endpoints_group(stack, vpc.id, group)
        endpoints = [_interface(stack, service, vpc.id, [s.id for s in subnets], reachable) for service in services]
    return AwsNetwork([s.id for s in subnets], [group], [gateway, *endpoints])


def _subnets(
    stack: AwsContext, cidr: str, zones: list[str], vpc: pulumi.Input[str], table: pulumi.Input[str]
) -> list[Any]:
    from pulumi_aws import ec2

    ranges = ipaddress.IPv4Network(cidr).subnets(prefixlen_diff=2)
    made = []
    for letter, zone, block in zip("ab", zones, ranges, strict=False):
        subnet = ec2.Subnet(
            stack.names.logical(f"private-{letter}"),
            vpc_id=vpc,
            cidr_block=str(block),
            availability_zone=zone,
            map_public_ip_on_launch=False,
            tags=_named(stack, f"private-{letter}"),
            opts=stack.options(),
        )
        ec2.RouteTableAssociation(
            stack.names.logical(f"private-{letter}-routes"),
            subnet_id=subnet.id,
            route_table_id=table,
            opts=stack.options(),
        )
        made.append(subnet)
    return made


def _security_group(stack: AwsContext, vpc: pulumi.Input[str], name: str, description: str) -> Any:
    from pulumi_aws import ec2

    return ec2.SecurityGroup(
        stack.names.logical(name),
        name=stack.names.of(name),
        description=description,
        vpc_id=vpc,
        tags=_named(stack, name),
        opts=stack.options(),
    )


def _rule(stack: AwsContext, name: str, group: pulumi.Input[str], description: str, **to: Any) -> None:
    """Declares a rule of a security group: ingress if `name` contains "-from-", else egress."""
    from pulumi_aws import vpc

    kind = vpc.SecurityGroupIngressRule if "-from-" in name else vpc.SecurityGroupEgressRule
    kind(stack.names.logical(name), security_group_id=group, description=description, **to, opts=stack.options())


def _workloads(stack: AwsContext, vpc: pulumi.Input[str], s3_prefixes: pulumi.Input[str]) -> pulumi.Output[str]:
    """Declare the security group of endpoints and jobs, which may reach S3 and each other."""
    # A group's description can't change in place: the first version's doesn't mention that they may reach each other.
    description = "Endpoints and jobs: out to S3 and to the VPC endpoints, nothing in"
    work = _security_group(stack, vpc, "workloads", description).id
    _rule(stack, "workloads-to-s3", work, "S3", prefix_list_id=s3_prefixes, **_HTTPS)
    # Encryption between containers uses UDP 500 and ESP, and their own traffic is TCP on any port.
    # https://docs.aws.amazon.com/sagemaker/latest/dg/train-encrypt.html
    for name in ("workloads-to-each-other", "workloads-from-each-other"):
        _rule(stack, name, work, "The instances of a job", referenced_security_group_id=work, ip_protocol="-1")
    return work


def _endpoints_group(stack: AwsContext, vpc: pulumi.Input[str], work: pulumi.Input[str]) -> pulumi.Output[str]:
    """Declare the security group of the VPC endpoints, reachable from endpoints and jobs."""
    description = "VPC endpoints: in from endpoints and jobs, nothing out"
    group = _security_group(stack, vpc, "vpc-endpoints", description).id
    _rule(stack, "workloads-to-endpoints", work, "AWS services", referenced_security_group_id=group, **_HTTPS)
    _rule(stack, "endpoints-from-workloads", group, "Endpoints and jobs", referenced_security_group_id=work, **_HTTPS)
    return group


def _interface(
    stack: AwsContext, service: str, vpc: pulumi.Input[str], subnets: list[pulumi.Output[str]], group: pulumi.Input[str]
) -> pulumi.Resource:
    from pulumi_aws import ec2

    return ec2.VpcEndpoint(
        stack.names.logical(f"vpc-endpoint-{service.replace('.', '-')}"),
        vpc_id=vpc,
        service_name=f"com.amazonaws.{stack.region}.{service}",
        vpc_endpoint_type="Interface",
        private_dns_enabled=True,
        subnet_ids=subnets,
        security_group_ids=[group],
        tags=_named(stack, service.replace(".", "-")),
        opts=stack.options(),
    )


def _named(stack: AwsContext, name: str) -> dict[str, str]:
    return {"Name": stack.names.of(name)}
