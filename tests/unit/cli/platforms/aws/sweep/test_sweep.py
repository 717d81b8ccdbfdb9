"""What goes between being listed and being asked for its tags is gone: the sweep of the rest goes on."""

import json
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.sweep.sweep import AwsSweeper
from llmops_kit.clouds.aws.names import scalable_target, stack_tags

TAGS = stack_tags("llmops", "dev")
LISTED = [{"Key": key, "Value": value} for key, value in TAGS.items()]


def make_all(clients: AwsClients) -> None:
    """One of each kind whose tags are asked for after it was listed."""
    clients("ecr").create_repository(repositoryName="llmops-dev-serving", tags=LISTED)
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    clients("iam").create_role(RoleName="llmops-dev-training", AssumeRolePolicyDocument=trust, Tags=LISTED)
    sagemaker = clients("sagemaker")
    sagemaker.create_model(
        ModelName="llmops-dev-chat", ExecutionRoleArn="arn:aws:iam::1:role/r", PrimaryContainer={"Image": "i"}
    )
    variant = {"VariantName": "main", "ModelName": "llmops-dev-chat", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(
        EndpointConfigName="llmops-dev-chat", ProductionVariants=[{**variant, "InstanceType": "ml.m5.large"}]
    )
    sagemaker.create_endpoint(EndpointName="llmops-dev-chat", EndpointConfigName="llmops-dev-chat", Tags=LISTED)
    clients("s3").create_bucket(Bucket="llmops-dev-store")
    clients("s3").put_bucket_tagging(Bucket="llmops-dev-store", Tagging={"TagSet": LISTED})


@pytest.mark.parametrize(
    ("service", "operation", "code", "kind"),
    [
        ("ecr", "ListTagsForResource", "RepositoryNotFoundException", "repository"),
        ("iam", "ListRoleTags", "NoSuchEntity", "role"),
        ("budgets", "ListTagsForResource", "NotFoundException", "budget"),
        ("application-autoscaling", "ListTagsForResource", "ResourceNotFoundException", "scaling"),
        ("sagemaker", "DescribeEndpoint", "ValidationException", ""),
    ],
)
def test_one_that_has_gone_does_not_stop_the_sweep(
    service: str, operation: str, code: str, kind: str, clients: AwsClients
) -> None:
    make_all(clients)
    if service == "application-autoscaling":  # moto tells no tags of one
        clients("application-autoscaling").register_scalable_target(
            **scalable_target("llmops-dev-chat"), MinCapacity=1, MaxCapacity=2, Tags=TAGS
        )
    if service == "budgets":  # nor of one
        limit = {"Amount": "1.0", "Unit": "USD"}
        budget = {"BudgetName": "llmops-dev-budget", "TimeUnit": "MONTHLY", "BudgetType": "COST", "BudgetLimit": limit}
        clients("budgets").create_budget(AccountId=clients.caller.account, Budget=budget)

    def gone(**_: Any) -> tuple[AWSResponse, dict[str, Any]]:
        return AWSResponse("", 400, {}, None), {"Error": {"Code": code, "Message": "Could not find it."}}

    clients(service).meta.events.register(f"before-call.{service}.{operation}", gone)
    found = {thing.kind for thing in AwsSweeper(clients).things("llmops")}
    assert kind not in found
    assert found >= {"bucket", "repository", "role", "endpoint"} - {kind}


@pytest.mark.parametrize(("region", "partition"), [("us-east-1", "aws"), ("cn-north-1", "aws-cn")])
def test_arns_are_those_of_the_partition(
    region: str, partition: str, clients: AwsClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    del clients  # only the account's
    monkeypatch.setenv("AWS_REGION", region)
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    there = AwsClients()
    assert there.caller.partition == partition
    vpc = there("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    there("ec2").create_tags(Resources=[vpc], Tags=LISTED)
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    there("s3").create_bucket(Bucket="llmops-dev-store", **place)
    there("s3").put_bucket_tagging(Bucket="llmops-dev-store", Tagging={"TagSet": LISTED})
    found = {thing.kind: thing.id for thing in AwsSweeper(there).things("llmops")}
    assert found["VPC"] == f"arn:{partition}:ec2:{region}:{there.caller.account}:vpc/{vpc}"
    assert found["bucket"] == f"arn:{partition}:s3:::llmops-dev-store"
