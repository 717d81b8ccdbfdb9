"""Networks: rules with descriptions, endpoints that need what AWS needs, nothing deleted from under its users."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from twins.tests.support.aws import REGION, RunningTwin

INSIDE = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}


@pytest.fixture(scope="module")
def ec2(twin: RunningTwin) -> Any:
    """A client."""
    return twin.client("ec2")


@pytest.fixture
def vpc(ec2: Any) -> str:
    """A VPC with DNS names."""
    name = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=name, EnableDnsHostnames={"Value": True})
    return name


@pytest.fixture
def subnet(ec2: Any, vpc: str) -> str:
    """A subnet of the VPC."""
    return ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]


@pytest.fixture
def group(ec2: Any, vpc: str) -> str:
    """A security group of the VPC."""
    return ec2.create_security_group(GroupName="kit", Description="d", VpcId=vpc)["GroupId"]


@pytest.mark.parametrize("kind", ["UserIdGroupPairs", "PrefixListIds", "IpRanges"])
def test_rule_keeps_its_description_whatever_its_source(ec2: Any, vpc: str, group: str, kind: str) -> None:
    other = ec2.create_security_group(GroupName="other", Description="d", VpcId=vpc)["GroupId"]
    source = {
        "UserIdGroupPairs": {"GroupId": other},
        "PrefixListIds": {"PrefixListId": "pl-12345678"},
        "IpRanges": {"CidrIp": "10.1.0.0/16"},
    }[kind]
    permission = {**INSIDE, kind: [{**source, "Description": "to the store"}]}
    [made] = ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[permission])["SecurityGroupRules"]
    name = made["SecurityGroupRuleId"]
    [shown] = ec2.describe_security_group_rules(SecurityGroupRuleIds=[name])["SecurityGroupRules"]
    assert made["Description"] == shown["Description"] == "to the store"
    assert shown["SecurityGroupRuleArn"] == f"arn:aws:ec2:{REGION}:000000000000:security-group-rule/{name}"
    [whole] = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    pairs = [pair for each in whole["IpPermissionsEgress"] for pair in each[kind] if source.items() <= pair.items()]
    assert pairs[0]["Description"] == "to the store"


def test_rule_is_changed_in_place(ec2: Any, group: str) -> None:
    permission = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.1.0.0/16"}]}
    [made] = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])["SecurityGroupRules"]
    new = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "CidrIpv4": "10.2.0.0/16", "Description": "new"}
    change = {"SecurityGroupRuleId": made["SecurityGroupRuleId"], "SecurityGroupRule": new}
    ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[change])
    [shown] = ec2.describe_security_group_rules(SecurityGroupRuleIds=[made["SecurityGroupRuleId"]])[
        "SecurityGroupRules"
    ]
    assert new.items() <= shown.items()
    change["SecurityGroupRule"] = {**INSIDE, "CidrIpv6": "::/0"}
    with pytest.raises(ClientError, match="change the type of its source"):
        ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[change])


def test_interface_endpoint_has_what_aws_answers(ec2: Any, vpc: str, subnet: str, group: str) -> None:
    second = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.2.0/24")["Subnet"]["SubnetId"]
    given = {
        "VpcId": vpc,
        "ServiceName": f"com.amazonaws.{REGION}.ecr.api",
        "VpcEndpointType": "Interface",
        "SubnetIds": [subnet],
        "SecurityGroupIds": [group],
    }
    name = ec2.create_vpc_endpoint(**given, PrivateDnsEnabled=True)["VpcEndpoint"]["VpcEndpointId"]
    ec2.modify_vpc_endpoint(VpcEndpointId=name, AddSubnetIds=[second])
    [shown] = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-endpoint-id", "Values": [name]}])["VpcEndpoints"]
    assert (shown["State"], shown["IpAddressType"], shown["PrivateDnsEnabled"]) == ("available", "ipv4", True)
    assert len(shown["NetworkInterfaceIds"]) == len(shown["SubnetIds"]) == 2
    assert shown["DnsEntries"][-1]["DnsName"] == f"api.ecr.{REGION}.amazonaws.com"
    with pytest.raises(ClientError, match=r"already a conflicting DNS domain for api\.ecr"):
        ec2.create_vpc_endpoint(**given, PrivateDnsEnabled=True)
    for call, arguments in (
        (ec2.delete_subnet, {"SubnetId": subnet}),
        (ec2.delete_security_group, {"GroupId": group}),
    ):
        with pytest.raises(ClientError, match="DependencyViolation"):
            call(**arguments)
    ec2.delete_vpc_endpoints(VpcEndpointIds=[name])
    with pytest.raises(ClientError, match=r"InvalidVpcEndpointId\.NotFound"):
        ec2.describe_vpc_endpoints(VpcEndpointIds=[name])
    ec2.delete_security_group(GroupId=group)
    ec2.delete_subnet(SubnetId=subnet)


def test_gateway_endpoint_is_one_in_a_route_table(ec2: Any, vpc: str) -> None:
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    policy = {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}]}
    given = {
        "VpcId": vpc,
        "ServiceName": f"com.amazonaws.{REGION}.s3",
        "VpcEndpointType": "Gateway",
        "RouteTableIds": [table],
        "PolicyDocument": json.dumps(policy),
    }
    made = ec2.create_vpc_endpoint(**given)["VpcEndpoint"]
    assert (made["PrivateDnsEnabled"], json.loads(made["PolicyDocument"])) == (False, policy)
    with pytest.raises(ClientError, match="RouteAlreadyExists"):
        ec2.create_vpc_endpoint(**given)
    ec2.modify_vpc_endpoint(VpcEndpointId=made["VpcEndpointId"], ResetPolicy=True)
    [shown] = ec2.describe_vpc_endpoints(VpcEndpointIds=[made["VpcEndpointId"]])["VpcEndpoints"]
    assert json.loads(shown["PolicyDocument"])["Statement"][0]["Action"] == "*"


def test_private_dns_needs_dns_names(ec2: Any) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    given = {"VpcId": vpc, "VpcEndpointType": "Interface", "PrivateDnsEnabled": True}
    with pytest.raises(ClientError, match="Enabling private DNS requires both enableDnsSupport and enableDnsHostnames"):
        ec2.create_vpc_endpoint(**given, ServiceName=f"com.amazonaws.{REGION}.logs")
    with pytest.raises(ClientError, match="InvalidServiceName"):
        ec2.create_vpc_endpoint(**given, ServiceName=f"com.amazonaws.{REGION}.nothing")


def test_missing_ids_are_named(ec2: Any) -> None:
    with pytest.raises(ClientError, match="The vpc ID 'vpc-00000000' does not exist"):
        ec2.describe_vpcs(VpcIds=["vpc-00000000"])
    with pytest.raises(ClientError, match="The security group 'sg-00000000' does not exist"):
        ec2.describe_security_groups(GroupIds=["sg-00000000"])


def test_flow_log_needs_a_role_that_its_service_may_assume(twin: RunningTwin, ec2: Any, vpc: str) -> None:
    principal = {"Service": "vpc-flow-logs.amazonaws.com"}
    trust = {"Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]}
    given = {
        "ResourceIds": [vpc],
        "ResourceType": "VPC",
        "TrafficType": "ALL",
        "LogDestination": f"arn:aws:logs:{REGION}:000000000000:log-group:flows",
    }
    with pytest.raises(ClientError, match="Unable to assume given IAM role"):
        ec2.create_flow_logs(**given, DeliverLogsPermissionArn="arn:aws:iam::000000000000:role/none")
    role = twin.client("iam").create_role(RoleName="flows", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    [name] = ec2.create_flow_logs(**given, DeliverLogsPermissionArn=role)["FlowLogIds"]
    [shown] = ec2.describe_flow_logs(FlowLogIds=[name])["FlowLogs"]
    assert (shown["DeliverLogsStatus"], shown["LogGroupName"]) == ("SUCCESS", "flows")


def test_a_dry_run_changes_nothing(ec2: Any, vpc: str, group: str) -> None:
    for call, given in (
        (ec2.create_vpc, {"CidrBlock": "10.7.0.0/16"}),
        (ec2.delete_security_group, {"GroupId": group}),
        (ec2.delete_vpc, {"VpcId": vpc}),
        (ec2.describe_vpcs, {}),
    ):
        with pytest.raises(ClientError, match="Request would have succeeded, but DryRun flag is set") as told:
            call(**given, DryRun=True)
        assert told.value.response["Error"]["Code"] == "DryRunOperation"
        assert told.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    assert ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert "10.7.0.0/16" not in {each["CidrBlock"] for each in ec2.describe_vpcs(DryRun=False)["Vpcs"]}
