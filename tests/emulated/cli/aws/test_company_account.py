"""An account in which others have a serverless endpoint, a heterogeneous job, and a key that shuts everybody out."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.rehearsal.cloud import Standing
from llmops_kit.cli.rehearsal.clouds.aws import Aws
from tests.support.clouds.aws import Account

IMAGE = f"process:training@sha256:{'0' * 64}"
TRUST = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
GROUPS = [
    {"InstanceGroupName": "loaders", "InstanceType": "ml.m5.large", "InstanceCount": 1},
    {"InstanceGroupName": "trainers", "InstanceType": "ml.m5.xlarge", "InstanceCount": 2},
]

ENDPOINTS = {
    "acme-serverless": {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}},
    "acme-pools": {"InitialInstanceCount": 1, "InstancePools": [{"InstanceType": "ml.m5.large", "Priority": 1}]},
}


@pytest.fixture
def closed_key(clients: AwsClients) -> str:
    """A key whose policy names a role of its own alone."""
    kms, keeper = clients("kms"), _role(clients, "acme-keeper")
    policy = {"Effect": "Allow", "Principal": {"AWS": keeper}, "Action": "kms:*", "Resource": "*"}
    made = kms.create_key(Policy=_document(policy), BypassPolicyLockoutSafetyCheck=True)
    return made["KeyMetadata"]["KeyId"]


@pytest.fixture
def theirs(clients: AwsClients, account: Account) -> Iterator[None]:
    sagemaker, role = clients("sagemaker"), _role(clients, "acme-models")
    sagemaker.create_model(ModelName="acme", PrimaryContainer={"Image": IMAGE}, ExecutionRoleArn=role)
    for name, machines in ENDPOINTS.items():
        variant: dict[str, Any] = {"VariantName": "main", "ModelName": "acme", **machines}
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    for name in ENDPOINTS:
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})
    clients("s3").create_bucket(Bucket="acme-jobs")
    account.set(pace=3600.0)  # the job is not to end before it was seen
    sagemaker.create_training_job(
        TrainingJobName="acme-groups",
        RoleArn=role,
        AlgorithmSpecification={"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        OutputDataConfig={"S3OutputPath": "s3://acme-jobs/output"},
        ResourceConfig={"InstanceGroups": GROUPS, "VolumeSizeInGB": 10},
        StoppingCondition={"MaxRuntimeInSeconds": 3600},
    )
    yield
    account.set(pace=0.05)
    sagemaker.stop_training_job(TrainingJobName="acme-groups")
    for name in ENDPOINTS:
        sagemaker.delete_endpoint(EndpointName=name)


def test_what_others_run_does_not_end_a_smoke_test(clients: AwsClients, theirs: None, closed_key: str) -> None:
    cloud = Aws()
    found = cloud.held()
    assert found[f"key {closed_key}"] == {}
    machines = [each for each in cloud.standing() if each.name.startswith("acme-")]
    assert machines == [
        Standing("acme-pools", "hosting", "ml.m5.large", 1),
        Standing("acme-serverless", "hosting", "serverless inference", 1),
        *(Standing("acme-groups", "training", each["InstanceType"], each["InstanceCount"]) for each in GROUPS),
    ]
    cloud.only = "smoke-1a2b"
    assert list(cloud.standing()) == []
    assert cloud.held().keys() == found.keys()


def _role(clients: AwsClients, name: str) -> str:
    iam = clients("iam")
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_document(TRUST))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=_document(EVERYTHING))
    return str(arn)


def _document(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
