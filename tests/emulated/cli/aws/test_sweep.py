"""A sweep of an account with a stack, with leftovers of it, of a stack that is gone, and with things of others."""

import json
import os
import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from llmops_kit.cli.platforms.sweep import find
from llmops_kit.cli.stacks.backend import folder_of
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
from tests.support.clouds.aws import Account, AwsStack, make_stack, running_account

STACK_TAGS = [{"Key": "llmops:project", "Value": "llmops"}, {"Key": "llmops:stack", "Value": "dev"}]
OLD_TAGS = [{"Key": "llmops:project", "Value": "llmops"}, {"Key": "llmops:stack", "Value": "old"}]
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsStack]:
    """A deployed stack with an endpoint, in a twin of its own; it is expired."""
    folder = tmp_path_factory.mktemp("sweep")
    with running_account(folder, pace=0.05, region="us-east-1") as account:  # whose prices the kit knows
        made = make_stack(account, folder / "project", "dev", expires="2026-01-01")
        made.serve("chatbot", made.add_version("chatbot@1"))
        made.up()
        yield made


def swept(stack: AwsStack, *of: str) -> dict[str, Any]:
    """What a sweep finds, in this process: (kind, name) -> row, expired and busy."""
    with stack.twin.entered():
        found = find(PulumiStack(Project(stack.folder), stack.name), of=of)
    left = {(each.thing.kind, each.thing.name): each.row for each in found.left}
    return {"left": left, "expired": [each.row for each in found.expired], "busy": found.busy}


@pytest.mark.long
def test_of_a_stack_and_its_state_nothing_is_left(stack: AwsStack) -> None:
    found = swept(stack)
    assert found["left"] == {}
    assert json.loads(stack.llmops("down", "--orphans", "--json"))["expired"] == found["expired"]
    assert [(e["stack"], e["expired"]) for e in found["expired"]] == [("dev", "2026-01-01T00:00:00+00:00")]
    assert found["expired"][0]["usd_month"] == pytest.approx(0.23 * 730 + 8 * 0.1), (
        "an instance, and six alarms on 8 metrics"
    )
    assert "the stack expired on 2026-01-01 00:00 UTC: `llmops down` removes it" in stack.llmops("status")
    assert "takes it down" in stack.llmops("down", "--orphans")


def test_leftovers_are_found_and_removed_in_order(stack: AwsStack) -> None:
    before = stack.twin.inventory().keys()
    theirs = _things_of_others(stack.twin)
    _failed_update(stack.twin)
    expected = {
        ("model", "llmops-dev-half"): "not in its stack's state",
        ("endpoint configuration", "llmops-dev-half"): "not in its stack's state",
        ("endpoint", "llmops-dev-half"): "not in its stack's state",
        ("log group", "/aws/sagemaker/Endpoints/llmops-dev-half"): "not in its stack's state",
        ("dashboard", "llmops-dev-half"): "not in its stack's state",
        ("alarm", "llmops-dev-half"): "not in its stack's state",
    }
    assert {k: row["why"] for k, row in swept(stack)["left"].items()} == expected
    assert swept(stack)["left"]["alarm", "llmops-dev-half"]["usd_month"] == 0.1
    assert "standard input is not a terminal" in stack.llmops("down", "--orphans", "--remove", code=1)
    stack.llmops("down", "--orphans", "--remove", "--yes", "--of", "dev", "--stack", "dev")  # an expired stack goes too
    left = stack.twin.inventory().keys()
    assert left - before == theirs
    assert {key.partition(" ")[0] for key in before & left if "dev" in key} >= {"bucket", "repository", "model"}
    assert swept(stack)["expired"] == [], "its data alone is left"
    stack.settings["expires"] = "2999-01-01"
    stack.up()
    assert swept(stack)["expired"] == []


def test_what_an_endpoint_uses_stays(stack: AwsStack) -> None:
    """As after a rollback that the state knows nothing of, or a change by hand."""
    sagemaker = stack.twin.client("sagemaker")
    name = stack.outputs()["aws"]["endpoints"]["chatbot"]
    ours = sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=ours)["ProductionVariants"]
    sagemaker.create_endpoint_config(EndpointConfigName="llmops-dev-used", ProductionVariants=variants, Tags=STACK_TAGS)
    sagemaker.update_endpoint(EndpointName=name, EndpointConfigName="llmops-dev-used")
    row = swept(stack)["left"]["endpoint configuration", "llmops-dev-used"]
    assert row["why"] == f"not in its stack's state; endpoint/{name} uses it"
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})
    sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=ours)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})
    assert swept(stack)["left"]["endpoint configuration", "llmops-dev-used"]["why"] == "not in its stack's state"


def test_a_stack_that_is_being_changed_is_not_judged(stack: AwsStack) -> None:
    folder = folder_of(stack.environ["PULUMI_BACKEND_URL"]) / ".pulumi/locks/organization/llmops/dev"
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).isoformat()
    lock = {"pid": os.getpid(), "username": "u", "hostname": socket.gethostname(), "timestamp": now}
    path = folder / f"{uuid.uuid4()}.json"
    path.write_text(json.dumps(lock))
    try:
        found = swept(stack)
    finally:
        path.unlink()
    assert (found["left"], found["busy"]) == ({}, ["dev"])


@pytest.mark.long
def test_things_of_a_stack_that_no_backend_knows(stack: AwsStack) -> None:
    """They may be another backend's: they go when their stack is named, and data when it is named as data."""
    before = stack.twin.inventory().keys()
    _lost_stack(stack.twin)
    lost = {
        *(("role", "llmops-old-endpoint"), ("topic", "llmops-old-alarms"), ("alarm", "llmops-old-5xx")),
        *(("schedules", "llmops-old-schedules"), ("budget", "llmops-old-budget"), ("bucket", "llmops-old-store")),
        *(("repository", "llmops-old-serving"), ("model package group", "llmops-old-models")),
    }
    found = swept(stack, "old")["left"]
    key = next(name for kind, name in found if kind == "KMS key")
    assert found.keys() == {*lost, ("KMS key", key)}
    assert {row["why"] for row in found.values()} == {"no stack of this name in this backend"}
    stack.llmops("down", "--orphans", "--remove", "--yes")
    assert swept(stack, "old")["left"].keys() == found.keys()
    stack.llmops("down", "--orphans", "--remove", "--yes", "--of", "old")
    assert {kind for kind, _ in swept(stack, "old")["left"]} == {
        *("bucket", "repository", "model package group", "KMS key")
    }
    stack.llmops("down", "--orphans", "--remove", "--yes", "--data", "old")
    (row,) = swept(stack, "old")["left"].values()
    assert (row["kind"], row["usd_month"]) == ("KMS key", 0.0)
    assert "will be deleted on" in row["why"]
    assert {k for k in stack.twin.inventory().keys() - before if "old" in k} == set()


def test_all_that_is_left_of_a_lost_state(stack: AwsStack) -> None:
    """Last: with an endpoint, what it is made of, and a private network."""
    stack.pulumi("stack", "rm", "--force", "--yes", "--preserve-config")
    _network(stack.twin)
    stack.llmops("down", "--orphans", "--remove", "--yes", "--data", "dev")
    left = stack.twin.inventory().keys()
    assert {key for key in left if "dev" in key and "looks-like-ours" not in key} == set()
    assert not {"vpc", "subnet", "vpc endpoint", "flow log"} & {key.partition(" vp")[0] for key in left}
    assert {kind for kind, _ in swept(stack, "dev")["left"]} == {"KMS key"}


def test_a_local_stack_has_no_account(stack: AwsStack) -> None:
    (stack.folder / "Pulumi.here.yaml").write_text("config:\n  llmops:target: local\n")
    assert "has no account to search for orphans" in stack.llmops("down", "--orphans", "--stack", "here", code=1)


def _things_of_others(account: Account) -> set[str]:
    """Without tags, with another project's, and an account's own of `llmops bootstrap`; their keys in the inventory."""
    account.client("sns").create_topic(Name="llmops-dev-looks-like-ours")
    account.client("sns").create_topic(Name="other", Tags=[{"Key": "llmops:project", "Value": "other"}])
    account.client("logs").create_log_group(logGroupName="/aws/sagemaker/Endpoints/somebody")
    s3 = account.client("s3")
    s3.create_bucket(Bucket="llmops-state")
    s3.put_bucket_tagging(
        Bucket="llmops-state", Tagging={"TagSet": [{"Key": "llmops:managed-by", "Value": "bootstrap"}]}
    )
    topics = [f"topic arn:aws:sns:us-east-1:000000000000:{n}" for n in ("llmops-dev-looks-like-ours", "other")]
    return {*topics, "log group /aws/sagemaker/Endpoints/somebody", "bucket llmops-state"}


def _failed_update(account: Account) -> None:
    """What an `up` that was killed between AWS's answer and its own note leaves, and SageMaker's own log group."""
    sagemaker, name = account.client("sagemaker"), "llmops-dev-half"
    endpoint = next(e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"])
    live = sagemaker.describe_endpoint(EndpointName=endpoint)
    (variant,) = sagemaker.describe_endpoint_config(EndpointConfigName=live["EndpointConfigName"])["ProductionVariants"]
    model = sagemaker.describe_model(ModelName=variant["ModelName"])
    sagemaker.create_model(
        ModelName=name,
        PrimaryContainer=model["PrimaryContainer"],
        ExecutionRoleArn=model["ExecutionRoleArn"],
        Tags=STACK_TAGS,
    )
    variants = [variant | {"ModelName": name}]
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants, Tags=STACK_TAGS)
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name, Tags=STACK_TAGS)
    group = f"/aws/sagemaker/Endpoints/{name}"
    if not account.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
        account.client("logs").create_log_group(logGroupName=group)
    _alarm(account, name, STACK_TAGS)
    account.client("cloudwatch").put_dashboard(DashboardName=name, DashboardBody=json.dumps({"widgets": []}))


def _alarm(account: Account, name: str, tags: list[dict[str, str]]) -> None:
    account.client("cloudwatch").put_metric_alarm(
        AlarmName=name, Namespace="n", MetricName="m", Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=1, ComparisonOperator="GreaterThanThreshold", Tags=tags,
    )  # fmt: skip


def _lost_stack(account: Account) -> None:
    iam, s3 = account.client("iam"), account.client("s3")
    iam.create_role(RoleName="llmops-old-endpoint", AssumeRolePolicyDocument=json.dumps(TRUST), Tags=OLD_TAGS)
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::llmops-old-store/*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName="llmops-old-endpoint", PolicyName="reads", PolicyDocument=document)
    account.client("sns").create_topic(Name="llmops-old-alarms", Tags=OLD_TAGS)
    _alarm(account, "llmops-old-5xx", OLD_TAGS)
    account.client("scheduler").create_schedule_group(Name="llmops-old-schedules", Tags=OLD_TAGS)
    limit = {"BudgetName": "llmops-old-budget", "BudgetType": "COST", "TimeUnit": "MONTHLY"}
    account.client("budgets").create_budget(
        AccountId="000000000000", Budget={**limit, "BudgetLimit": {"Amount": "1", "Unit": "USD"}}, ResourceTags=OLD_TAGS
    )
    s3.create_bucket(Bucket="llmops-old-store")
    s3.put_bucket_versioning(Bucket="llmops-old-store", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_tagging(Bucket="llmops-old-store", Tagging={"TagSet": OLD_TAGS})
    s3.put_object(Bucket="llmops-old-store", Key="models/a", Body=b"a")
    s3.delete_object(Bucket="llmops-old-store", Key="models/a")
    account.client("ecr").create_repository(repositoryName="llmops-old-serving", tags=OLD_TAGS)
    account.client("sagemaker").create_model_package_group(ModelPackageGroupName="llmops-old-models", Tags=OLD_TAGS)
    account.client("kms").create_key(Tags=[{"TagKey": t["Key"], "TagValue": t["Value"]} for t in OLD_TAGS])


def _network(account: Account) -> None:
    """A VPC as the program makes one: two groups that name each other, an endpoint with interfaces, routes."""
    ec2 = account.client("ec2")

    def tags(kind: str) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": STACK_TAGS}]

    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16", TagSpecifications=tags("vpc"))["Vpc"]["VpcId"]
    for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
        ec2.modify_vpc_attribute(VpcId=vpc, **{attribute: {"Value": True}})
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.0.0/24", TagSpecifications=tags("subnet"))["Subnet"]
    table = ec2.create_route_table(VpcId=vpc, TagSpecifications=tags("route-table"))["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet["SubnetId"])
    groups = [
        ec2.create_security_group(
            VpcId=vpc, GroupName=f"llmops-dev-{n}", Description=n, TagSpecifications=tags("security-group")
        )["GroupId"]
        for n in ("work", "doors")
    ]
    for one, other in (groups, reversed(groups)):
        rule = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "UserIdGroupPairs": [{"GroupId": other}]}
        ec2.authorize_security_group_ingress(GroupId=one, IpPermissions=[rule])
    ec2.create_vpc_endpoint(
        VpcId=vpc, ServiceName="com.amazonaws.us-east-1.sts", VpcEndpointType="Interface",
        SubnetIds=[subnet["SubnetId"]], SecurityGroupIds=[groups[1]], TagSpecifications=tags("vpc-endpoint"),
    )  # fmt: skip
    bucket = next(b["Name"] for b in account.client("s3").list_buckets()["Buckets"] if "dev-work" in b["Name"])
    ec2.create_flow_logs(
        ResourceIds=[vpc], ResourceType="VPC", TrafficType="ALL", LogDestinationType="s3",
        LogDestination=f"arn:aws:s3:::{bucket}", TagSpecifications=tags("vpc-flow-log"),
    )  # fmt: skip
