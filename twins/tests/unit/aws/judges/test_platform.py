"""What SageMaker does under a role: each access of the lists is needed, and a role that has them all is enough."""

from collections.abc import Callable
from typing import Any

import pytest

from llmops_twins.aws.judges.access import JudgedAction
from llmops_twins.aws.judges.platform import (
    accesses_of_async_invocation,
    accesses_of_endpoint,
    accesses_of_training_job,
)
from twins.tests.unit.aws.judges.bench import ACCOUNT, REGION, ROOT, Bench, allow, deny, policy

REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
NETWORK_ACTIONS = {
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
}
COMMON = {  # of the permissions that AWS's page "How to use SageMaker execution roles" lists for both
    "cloudwatch:PutMetricData",
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
    "kms:CreateGrant",
    "kms:Decrypt",
    "logs:CreateLogGroup",
    "logs:CreateLogStream",
    "logs:DescribeLogStreams",
    "logs:PutLogEvents",
    "s3:GetObject",
    "s3:ListBucket",
}


@pytest.fixture
def key(bench: Bench) -> str:
    return bench.key(allow("kms:*", Principal={"AWS": ROOT}))


def of_endpoint(bench: Bench, key: str, **configuration: Any) -> list[JudgedAction]:
    bench.bucket("store", key=key)
    bench.s3.put_object("store", "models/a/config.json", b"{}", encryption="aws:kms", kms_key_id=key)
    source = {"S3Uri": "s3://store/models/a/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    model = {
        "ModelName": "m",
        "ModelArn": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model/m",
        "PrimaryContainer": {"Image": f"{REGISTRY}/serving@sha256:1", "ModelDataSource": {"S3DataSource": source}},
        "VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
    }
    rollback = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}}
    return accesses_of_endpoint(bench.twin, "chat", {"KmsKeyId": key, **configuration}, model, rollback)


def of_job(bench: Bench, key: str) -> list[JudgedAction]:
    bench.bucket("store", key=key)
    bench.bucket("work", key=key)
    channel = {"ChannelName": "dataset", "DataSource": {"S3DataSource": {"S3Uri": "s3://store/datasets/a/"}}}
    job = {
        "TrainingJobName": "j",
        "AlgorithmSpecification": {"TrainingImage": f"{REGISTRY}/training@sha256:1"},
        "InputDataConfig": [channel],
        "CheckpointConfig": {"S3Uri": "s3://work/runs/j/checkpoints/"},
        "OutputDataConfig": {"S3OutputPath": "s3://work/runs/j/output", "KmsKeyId": key},
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "VolumeKmsKeyId": key},
        "VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
    }
    return accesses_of_training_job(bench.twin, job)


def test_an_endpoint_does_what_aws_documents(bench: Bench, key: str) -> None:
    found = {each.action for each in of_endpoint(bench, key)}
    assert found == COMMON | NETWORK_ACTIONS | {"cloudwatch:DescribeAlarms"}


def test_a_training_job_does_what_aws_documents(bench: Bench, key: str) -> None:
    found = {each.action for each in of_job(bench, key)}
    assert found == COMMON | NETWORK_ACTIONS | {"kms:Encrypt", "kms:GenerateDataKey", "s3:PutObject"}


def test_an_asynchronous_endpoint_writes_answers_and_reads_requests(bench: Bench, key: str) -> None:
    bench.bucket("work", key=key)
    output = {"OutputConfig": {"S3OutputPath": "s3://work/async/out", "S3FailurePath": "s3://work/async/failed"}}
    plain = {(each.action, each.resource) for each in of_endpoint(bench, key)}
    bench.s3.delete_object("store", "models/a/config.json")
    bench.s3.delete_bucket("store")
    found = {(each.action, each.resource) for each in of_endpoint(bench, key, AsyncInferenceConfig=output)}
    assert found - plain == {
        ("s3:PutObject", "arn:aws:s3:::work/async/out/object"),
        ("s3:PutObject", "arn:aws:s3:::work/async/failed/object"),
        ("kms:GenerateDataKey", key),
    }
    read = accesses_of_async_invocation(
        bench.twin, f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/e", "s3://work/async/in/1"
    )
    assert [each.action for each in read] == ["s3:ListBucket", "s3:GetObject", "kms:Decrypt"]


def test_a_process_in_place_of_an_image_is_pulled_from_nowhere(bench: Bench) -> None:
    model = {"PrimaryContainer": {"Image": "process:serving@sha256:1"}}
    assert not [each for each in accesses_of_endpoint(bench.twin, "e", {}, model) if each.action.startswith("ecr:")]


def test_a_bucket_may_insist_on_the_vpc_endpoint(bench: Bench) -> None:
    from moto.ec2.models import ec2_backends

    backend: Any = ec2_backends[ACCOUNT][REGION]
    subnet = next(iter(next(iter(backend.subnets.values())).values()))
    network = {"Subnets": [subnet.id], "SecurityGroupIds": ["sg-1"]}
    source = {"S3DataSource": {"S3Uri": "s3://store/models/a/"}}
    model = {"PrimaryContainer": {"ModelDataSource": source}, "VpcConfig": network}

    def reading() -> JudgedAction:
        return next(each for each in accesses_of_endpoint(bench.twin, "e", {}, model) if each.action == "s3:GetObject")

    assert reading().context["aws:SourceVpc"] == subnet.vpc_id
    assert "aws:SourceVpce" not in reading().context
    made = backend.create_vpc_endpoint(subnet.vpc_id, f"com.amazonaws.{REGION}.s3", "Gateway", None, [])
    assert reading().context["aws:SourceVpce"] == made.id
    own = {"StringNotEquals": {"aws:SourceVpce": made.id}}
    bench.bucket("store", deny("s3:*", "arn:aws:s3:::store/*", Principal="*", Condition=own))
    role = bench.role("r", allow("s3:GetObject"))
    assert bench.twin.may(role, "s3:GetObject", "arn:aws:s3:::store/models/a/x", reading().context) is None
    assert bench.twin.may(role, "s3:GetObject", "arn:aws:s3:::store/models/a/x", {})


@pytest.mark.parametrize("accesses", [of_endpoint, of_job])
def test_a_role_with_exactly_these_is_enough_and_with_one_less_is_not(
    bench: Bench, key: str, accesses: Callable[[Bench, str], list[JudgedAction]]
) -> None:
    needed = accesses(bench, key)
    allowed: dict[str, set[str]] = {}
    for access in needed:
        allowed.setdefault(access.action, set()).add(access.resource)
    statements = [allow(action, sorted(resources)) for action, resources in allowed.items()]
    role = bench.role("worker", *statements)

    def denied() -> str:
        for access in needed:
            if reason := bench.twin.may(role, access.action, access.resource, access.context):
                return reason
        return ""

    assert denied() == ""
    for statement in statements:
        rest = [each for each in statements if each is not statement]
        bench.iam.get_role("worker").policies["given"] = policy(*rest)
        assert f"no identity-based policy allows the {statement['Action']} action" in denied()


def test_the_conditions_that_roles_set_are_met(bench: Bench, key: str) -> None:
    """As AWS's examples scope them: the metrics' namespace, the prefix, the service that a key is asked through."""
    for_disks = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    role = bench.role(
        "worker",
        allow(
            "cloudwatch:PutMetricData", Condition={"StringEquals": {"cloudwatch:namespace": "/aws/sagemaker/Endpoints"}}
        ),
        allow("s3:ListBucket", Condition={"StringLike": {"s3:prefix": ["models/*"]}}),
        allow("kms:CreateGrant", Condition=for_disks),
        allow("kms:Decrypt", Condition={"StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}}),
        allow(["ec2:*", "ecr:*", "logs:*", "s3:GetObject", "cloudwatch:DescribeAlarms"]),
        trust=policy(
            allow(
                "sts:AssumeRole",
                None,
                Principal={"Service": "sagemaker.amazonaws.com"},
                Condition={"ArnLike": {"aws:SourceArn": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:*"}},
            )
        ),
    )
    for access in of_endpoint(bench, key):
        assert bench.twin.may(role, access.action, access.resource, access.context) is None
