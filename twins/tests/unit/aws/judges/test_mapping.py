"""What IAM judges for each call: actions, ARNs and condition keys."""

from typing import Any

import botocore.session
import pytest

from llmops_twins.aws.judges import operation_tables
from llmops_twins.aws.judges.access import JudgedAction
from llmops_twins.aws.judges.reference import PREFIXES
from llmops_twins.aws.service_documents import shelf
from twins.tests.unit.aws.judges.bench import ACCOUNT, REGION, Bench

SERVICES = [
    "application-autoscaling",
    "budgets",
    "cloudwatch",
    "ec2",
    "ecr",
    "events",
    "iam",
    "kms",
    "logs",
    "pricing",
    "resourcegroupstaggingapi",
    "s3",
    "sagemaker",
    "sagemaker-runtime",
    "scheduler",
    "secretsmanager",
    "service-quotas",
    "sns",
    "sqs",
    "ssm",
    "sts",
]


def arn(service: str, rest: str, region: str = REGION) -> str:
    return f"arn:aws:{service}:{region}:{ACCOUNT}:{rest}"


ROLE = arn("iam", "role/training", "")
KEY = arn("kms", "key/11111111-2222-3333-4444-555555555555")
TAGS = [{"Key": "team", "Value": "a"}]
# (service, operation, parameters) -> [(action, resource)], all that the call needs, its own action first.
NEEDS: list[tuple[str, str, dict[str, Any], list[tuple[str, str]]]] = [
    ("sagemaker", "CreateModel", {"ModelName": "m", "ExecutionRoleArn": ROLE, "Tags": TAGS}, [
        ("sagemaker:CreateModel", arn("sagemaker", "model/m")),
        ("sagemaker:AddTags", arn("sagemaker", "model/m")),
        ("iam:PassRole", ROLE),
    ]),
    ("sagemaker", "DescribeModel", {"ModelName": "m"}, [("sagemaker:DescribeModel", arn("sagemaker", "model/m"))]),
    ("sagemaker", "CreateEndpointConfig", {"EndpointConfigName": "c", "ProductionVariants": []}, [
        ("sagemaker:CreateEndpointConfig", arn("sagemaker", "endpoint-config/c")),
    ]),
    ("sagemaker", "CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": "c"}, [
        ("sagemaker:CreateEndpoint", arn("sagemaker", "endpoint/e")),
        ("sagemaker:CreateEndpoint", arn("sagemaker", "endpoint-config/c")),
    ]),
    ("sagemaker", "UpdateEndpoint", {"EndpointName": "e", "EndpointConfigName": "c"}, [
        ("sagemaker:UpdateEndpoint", arn("sagemaker", "endpoint/e")),
        ("sagemaker:UpdateEndpoint", arn("sagemaker", "endpoint-config/c")),
    ]),
    ("sagemaker", "DeleteEndpoint", {"EndpointName": "e"}, [
        ("sagemaker:DeleteEndpoint", arn("sagemaker", "endpoint/e")),
    ]),
    ("sagemaker", "ListEndpoints", {}, [("sagemaker:ListEndpoints", "*")]),
    ("sagemaker", "AddTags", {"ResourceArn": arn("sagemaker", "endpoint/e"), "Tags": TAGS}, [
        ("sagemaker:AddTags", arn("sagemaker", "endpoint/e")),
    ]),
    ("sagemaker", "CreateTrainingJob", {"TrainingJobName": "j", "RoleArn": ROLE, "Tags": TAGS}, [
        ("sagemaker:CreateTrainingJob", arn("sagemaker", "training-job/j")),
        ("sagemaker:AddTags", arn("sagemaker", "training-job/j")),
        ("iam:PassRole", ROLE),
    ]),
    ("sagemaker", "ListModelPackages", {"ModelPackageGroupName": "g"}, [("sagemaker:ListModelPackages", "*")]),
    ("sagemaker", "CreateModelPackage", {"ModelPackageGroupName": "g"}, [
        ("sagemaker:CreateModelPackage", arn("sagemaker", "model-package/g/*")),
    ]),
    ("sagemaker", "UpdateModelPackage", {"ModelPackageArn": arn("sagemaker", "model-package/g/3")}, [
        ("sagemaker:UpdateModelPackage", arn("sagemaker", "model-package/g/3")),
    ]),
    ("sagemaker", "DeleteModelPackageGroup", {"ModelPackageGroupName": "g"}, [
        ("sagemaker:DeleteModelPackageGroup", arn("sagemaker", "model-package-group/g")),
    ]),
    ("sagemaker-runtime", "InvokeEndpoint", {"EndpointName": "e"}, [
        ("sagemaker:InvokeEndpoint", arn("sagemaker", "endpoint/e")),
    ]),
    ("sagemaker-runtime", "InvokeEndpointAsync", {"EndpointName": "e", "InputLocation": "s3://b/k"}, [
        ("sagemaker:InvokeEndpointAsync", arn("sagemaker", "endpoint/e")),
    ]),
    ("s3", "ListObjectsV2", {"Bucket": "b", "Prefix": "p/"}, [("s3:ListBucket", "arn:aws:s3:::b")]),
    ("s3", "HeadBucket", {"Bucket": "b"}, [("s3:ListBucket", "arn:aws:s3:::b")]),
    ("s3", "HeadObject", {"Bucket": "b", "Key": "k"}, [("s3:GetObject", "arn:aws:s3:::b/k")]),
    ("s3", "GetObject", {"Bucket": "b", "Key": "k", "VersionId": "1"}, [("s3:GetObjectVersion", "arn:aws:s3:::b/k")]),
    ("s3", "UploadPart", {"Bucket": "b", "Key": "k", "PartNumber": 1}, [("s3:PutObject", "arn:aws:s3:::b/k")]),
    ("s3", "CompleteMultipartUpload", {"Bucket": "b", "Key": "k"}, [("s3:PutObject", "arn:aws:s3:::b/k")]),
    ("s3", "AbortMultipartUpload", {"Bucket": "b", "Key": "k"}, [("s3:AbortMultipartUpload", "arn:aws:s3:::b/k")]),
    ("s3", "ListObjectVersions", {"Bucket": "b"}, [("s3:ListBucketVersions", "arn:aws:s3:::b")]),
    ("s3", "PutObject", {"Bucket": "b", "Key": "k", "Tagging": "a=b"}, [
        ("s3:PutObject", "arn:aws:s3:::b/k"),
        ("s3:PutObjectTagging", "arn:aws:s3:::b/k"),
    ]),
    ("s3", "CopyObject", {"Bucket": "b", "Key": "k", "CopySource": "a/x%20y"}, [
        ("s3:PutObject", "arn:aws:s3:::b/k"),
        ("s3:GetObject", "arn:aws:s3:::a/x y"),
    ]),
    ("s3", "DeleteObjects", {"Bucket": "b", "Delete": {"Objects": [{"Key": "x"}, {"Key": "y", "VersionId": "1"}]}}, [
        ("s3:DeleteObject", "arn:aws:s3:::b/x"),
        ("s3:DeleteObjectVersion", "arn:aws:s3:::b/y"),
    ]),
    ("s3", "ListBuckets", {}, [("s3:ListAllMyBuckets", "*")]),
    ("s3", "PutPublicAccessBlock", {"Bucket": "b"}, [("s3:PutBucketPublicAccessBlock", "arn:aws:s3:::b")]),
    ("s3", "DeleteBucketLifecycle", {"Bucket": "b"}, [("s3:PutLifecycleConfiguration", "arn:aws:s3:::b")]),
    ("iam", "CreateRole", {"RoleName": "r", "Path": "/x/", "Tags": TAGS}, [
        ("iam:CreateRole", arn("iam", "role/x/r", "")),
        ("iam:TagRole", arn("iam", "role/x/r", "")),
    ]),
    ("iam", "PutRolePolicy", {"RoleName": "r", "PolicyName": "p"}, [("iam:PutRolePolicy", arn("iam", "role/r", ""))]),
    ("iam", "AttachRolePolicy", {"RoleName": "r", "PolicyArn": "arn:aws:iam::aws:policy/X"}, [
        ("iam:AttachRolePolicy", arn("iam", "role/r", "")),
    ]),
    ("iam", "GetPolicy", {"PolicyArn": "arn:aws:iam::aws:policy/X"}, [("iam:GetPolicy", "arn:aws:iam::aws:policy/X")]),
    ("iam", "CreateOpenIDConnectProvider", {"Url": "https://ci.example.com"}, [
        ("iam:CreateOpenIDConnectProvider", arn("iam", "oidc-provider/ci.example.com", "")),
    ]),
    ("kms", "CreateKey", {"Tags": [{"TagKey": "a", "TagValue": "b"}]}, [
        ("kms:CreateKey", "*"),
        ("kms:TagResource", arn("kms", "key/*")),
    ]),
    ("kms", "CreateAlias", {"AliasName": "alias/a", "TargetKeyId": KEY}, [
        ("kms:CreateAlias", arn("kms", "alias/a")),
        ("kms:CreateAlias", KEY),
    ]),
    ("kms", "Sign", {"KeyId": KEY.rpartition("/")[2]}, [("kms:Sign", KEY)]),
    ("kms", "Decrypt", {"CiphertextBlob": b"11111111-2222-3333-4444-555555555555rest"}, [("kms:Decrypt", KEY)]),
    ("logs", "CreateLogGroup", {"logGroupName": "/g", "tags": {"a": "b"}}, [
        ("logs:CreateLogGroup", arn("logs", "log-group:/g:log-stream:")),
        ("logs:TagResource", arn("logs", "log-group:/g")),
    ]),
    ("logs", "PutMetricFilter", {"logGroupName": "/g"}, [
        ("logs:PutMetricFilter", arn("logs", "log-group:/g:log-stream:")),
    ]),
    ("logs", "GetLogEvents", {"logGroupName": "/g", "logStreamName": "s"}, [
        ("logs:GetLogEvents", arn("logs", "log-group:/g:log-stream:s")),
    ]),
    ("logs", "ListTagsForResource", {"resourceArn": arn("logs", "log-group:/g:*")}, [
        ("logs:ListTagsForResource", arn("logs", "log-group:/g")),
    ]),
    ("cloudwatch", "PutMetricAlarm", {"AlarmName": "a", "Tags": TAGS}, [
        ("cloudwatch:PutMetricAlarm", arn("cloudwatch", "alarm:a")),
        ("cloudwatch:TagResource", arn("cloudwatch", "alarm:a")),
    ]),
    ("cloudwatch", "DeleteAlarms", {"AlarmNames": ["a", "b"]}, [
        ("cloudwatch:DeleteAlarms", arn("cloudwatch", "alarm:a")),
        ("cloudwatch:DeleteAlarms", arn("cloudwatch", "alarm:b")),
    ]),
    ("cloudwatch", "DescribeAlarms", {}, [("cloudwatch:DescribeAlarms", arn("cloudwatch", "alarm:*"))]),
    ("cloudwatch", "PutMetricData", {"Namespace": "n"}, [("cloudwatch:PutMetricData", "*")]),
    ("cloudwatch", "PutDashboard", {"DashboardName": "d"}, [
        ("cloudwatch:PutDashboard", arn("cloudwatch", "dashboard/d", "")),
    ]),
    ("application-autoscaling", "RegisterScalableTarget", {
        "ServiceNamespace": "sagemaker", "ResourceId": "endpoint/e/variant/main", "ScalableDimension": "x",
    }, [
        ("application-autoscaling:RegisterScalableTarget", arn("application-autoscaling", "scalable-target/*")),
        ("sagemaker:DescribeEndpoint", arn("sagemaker", "endpoint/e")),
        ("sagemaker:DescribeEndpointConfig", arn("sagemaker", "endpoint-config/*")),
        ("sagemaker:UpdateEndpointWeightsAndCapacities", arn("sagemaker", "endpoint/e")),
        ("iam:CreateServiceLinkedRole", arn(
            "iam",
            "role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/"
            "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint",
            "",
        )),
    ]),
    ("application-autoscaling", "PutScalingPolicy", {
        "ServiceNamespace": "sagemaker", "ResourceId": "endpoint/e/variant/main",
        "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 4.0},
    }, [
        ("application-autoscaling:PutScalingPolicy", arn("application-autoscaling", "scalable-target/*")),
        ("cloudwatch:PutMetricAlarm", arn("cloudwatch", "alarm:TargetTracking-endpoint/e/variant/main-*")),
        ("cloudwatch:DescribeAlarms", arn("cloudwatch", "alarm:TargetTracking-endpoint/e/variant/main-*")),
    ]),
    ("scheduler", "CreateSchedule", {"Name": "s", "GroupName": "g", "Target": {"RoleArn": ROLE, "Arn": "x"}}, [
        ("scheduler:CreateSchedule", arn("scheduler", "schedule/g/s")),
        ("iam:PassRole", ROLE),
    ]),
    ("scheduler", "UpdateSchedule", {"Name": "s", "Target": {"RoleArn": ROLE, "Arn": "x"}, "KmsKeyArn": KEY}, [
        ("scheduler:UpdateSchedule", arn("scheduler", "schedule/default/s")),
        ("iam:PassRole", ROLE),
        ("kms:DescribeKey", KEY),
        ("kms:GenerateDataKey", KEY),
        ("kms:Decrypt", KEY),
    ]),
    ("scheduler", "CreateScheduleGroup", {"Name": "g", "Tags": TAGS}, [
        ("scheduler:CreateScheduleGroup", arn("scheduler", "schedule-group/g")),
        ("scheduler:TagResource", arn("scheduler", "schedule-group/g")),
    ]),
    ("events", "PutTargets", {"Rule": "r", "Targets": [{"Id": "1", "Arn": "x", "RoleArn": ROLE}]}, [
        ("events:PutTargets", arn("events", "rule/r")),
        ("iam:PassRole", ROLE),
    ]),
    ("ecr", "CreateRepository", {"repositoryName": "r", "encryptionConfiguration": {"kmsKey": KEY}, "tags": TAGS}, [
        ("ecr:CreateRepository", arn("ecr", "repository/r")),
        ("ecr:TagResource", arn("ecr", "repository/r")),
        ("kms:DescribeKey", KEY),
        ("kms:CreateGrant", KEY),
    ]),
    ("ecr", "GetAuthorizationToken", {}, [("ecr:GetAuthorizationToken", "*")]),
    ("ecr", "DescribeRepositories", {"repositoryNames": ["r"]}, [
        ("ecr:DescribeRepositories", arn("ecr", "repository/r")),
    ]),
    ("sns", "CreateTopic", {"Name": "t", "Tags": TAGS}, [
        ("sns:CreateTopic", arn("sns", "t")),
        ("sns:TagResource", arn("sns", "t")),
    ]),
    ("sns", "Unsubscribe", {"SubscriptionArn": arn("sns", "t:1")}, [("sns:Unsubscribe", arn("sns", "t"))]),
    ("sqs", "GetQueueAttributes", {"QueueUrl": f"http://x/{ACCOUNT}/q"}, [("sqs:GetQueueAttributes", arn("sqs", "q"))]),
    ("budgets", "CreateBudget", {"AccountId": ACCOUNT, "Budget": {"BudgetName": "b"}}, [
        ("budgets:ModifyBudget", arn("budgets", "budget/b", "")),
    ]),
    ("budgets", "DescribeBudget", {"AccountId": ACCOUNT, "BudgetName": "b"}, [
        ("budgets:ViewBudget", arn("budgets", "budget/b", "")),
    ]),
    ("ec2", "CreateVpc", {"TagSpecifications": [{"ResourceType": "vpc", "Tags": TAGS}]}, [
        ("ec2:CreateVpc", arn("ec2", "vpc/*")),
        ("ec2:CreateTags", arn("ec2", "vpc/*")),
    ]),
    ("ec2", "CreateSubnet", {"VpcId": "vpc-1"}, [
        ("ec2:CreateSubnet", arn("ec2", "subnet/*")),
        ("ec2:CreateSubnet", arn("ec2", "vpc/vpc-1")),
    ]),
    ("ec2", "AuthorizeSecurityGroupEgress", {"GroupId": "sg-1"}, [
        ("ec2:AuthorizeSecurityGroupEgress", arn("ec2", "security-group/sg-1")),
    ]),
    ("ec2", "CreateTags", {"Resources": ["vpc-1", "sgr-2"], "Tags": TAGS}, [
        ("ec2:CreateTags", arn("ec2", "vpc/vpc-1")),
        ("ec2:CreateTags", arn("ec2", "security-group-rule/sgr-2")),
    ]),
    ("ec2", "DescribeVpcs", {}, [("ec2:DescribeVpcs", "*")]),
    ("ec2", "CreateFlowLogs", {"ResourceIds": ["vpc-1"], "ResourceType": "VPC", "LogDestinationType": "s3"}, [
        ("ec2:CreateFlowLogs", arn("ec2", "vpc-flow-log/*")),
        ("ec2:CreateFlowLogs", arn("ec2", "vpc/vpc-1")),
        ("logs:CreateLogDelivery", "*"),
    ]),
    ("sts", "GetCallerIdentity", {}, []),
    ("sts", "AssumeRole", {"RoleArn": ROLE, "RoleSessionName": "s"}, [("sts:AssumeRole", ROLE)]),
    ("service-quotas", "ListServiceQuotas", {"ServiceCode": "sagemaker"}, [("servicequotas:ListServiceQuotas", "*")]),
    ("pricing", "GetProducts", {}, [("pricing:GetProducts", "*")]),
]  # fmt: skip


def needs(bench: Bench, service: str, operation: str, parameters: dict[str, Any]) -> list[JudgedAction]:
    return bench.judge._mapping.accesses_of(bench.call(service, operation, parameters))


@pytest.mark.parametrize(("service", "operation", "parameters", "expected"), NEEDS, ids=lambda each: str(each)[:40])
def test_a_call_needs_exactly_this(
    bench: Bench, service: str, operation: str, parameters: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert [(each.action, each.resource) for each in needs(bench, service, operation, parameters)] == expected


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_is_an_action_on_resources_of_its_types(bench: Bench, service: str) -> None:
    """With whatever parameters: the action exists, and each ARN is of a type that a policy may name for it."""
    model = botocore.session.get_session().get_service_model(service)
    known = bench.judge._mapping._reference
    wrong = []
    for operation in list[str](model.operation_names):  # pyright: ignore[reportArgumentType]
        own = PREFIXES.get(service, service)
        name = operation_tables.ACTIONS.get((service, operation), f"{own}:{operation}")
        unknown = service != "s3" and known.action(name) is None  # newer than the reference: refused, see below
        if unknown or operation in UNMAPPED or (service, operation) in operation_tables.FREE:
            continue
        for access in needs(bench, service, operation, sample(model.operation_model(operation).input_shape)):
            action = known.action(access.action)
            if action is None:
                wrong.append(f"{operation}: no action {access.action}")
            elif access.resource != "*" and not any(kind.matches(access.asked) for kind in action.resource_types):
                wrong.append(f"{operation}: {access.action} on {access.resource}")
    assert not wrong


# S3's operations for other APIs than buckets and objects of the common kind; two of SageMaker's that the kit has not.
UNMAPPED = {
    "CreateInferenceExperiment",
    "CreateWorkforce",
    "CreateBucketMetadataConfiguration",
    "CreateSession",
    "DeleteBucketMetadataConfiguration",
    "GetBucketMetadataConfiguration",
    "ListDirectoryBuckets",
    "RenameObject",
    "WriteGetObjectResponse",
}


def sample(shape: Any) -> dict[str, Any]:
    """A value for each string, list of strings and structure of the first levels."""

    def value(name: str, each: Any, depth: int) -> Any:
        if each.type_name == "structure":
            return {} if depth > 3 else {n: value(n, member, depth + 1) for n, member in each.members.items()}
        if each.type_name == "list":
            return [value(name, each.member, depth + 1)]
        if each.type_name == "map":
            return {"a": "b"}
        if each.type_name == "string":
            return each.enum[0] if each.enum else SAMPLES.get(name, "sample")
        return {"boolean": False, "blob": b"x"}.get(each.type_name, 1)

    return value("", shape, 0) if shape is not None else {}


SAMPLES = {
    "AliasName": "alias/sample",
    "CopySource": "bucket/key",
    "Path": "/sample/",
    "PolicyArn": arn("iam", "policy/sample", ""),
    "RoleArn": ROLE,
    "SubscriptionArn": arn("sns", "topic:1"),
}


def test_what_iams_reference_does_not_know_is_refused_with_the_reason(bench: Bench) -> None:
    user = bench.user("dev")
    refused = bench.refusal("kms", "Decapsulate", {"KeyId": "1"}, user)
    assert refused
    assert "no action kms:Decapsulate" in refused.message


def context(bench: Bench, service: str, operation: str, parameters: dict[str, Any], action: str) -> dict[str, Any]:
    return dict(next(each.context for each in needs(bench, service, operation, parameters) if each.action == action))


def test_the_parameters_of_a_call_fill_the_condition_keys(bench: Bench) -> None:
    job = {
        "TrainingJobName": "j",
        "RoleArn": ROLE,
        "Tags": TAGS,
        "EnableNetworkIsolation": True,
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeKmsKeyId": KEY},
        "VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    assert context(bench, "sagemaker", "CreateTrainingJob", job, "sagemaker:CreateTrainingJob") == {
        "aws:RequestTag/team": "a",
        "aws:TagKeys": ["team"],
        "sagemaker:InstanceTypes": ["ml.g5.xlarge"],
        "sagemaker:NetworkIsolation": "true",
        "sagemaker:VolumeKmsKeyArn": KEY,
        "sagemaker:VpcSubnets": ["subnet-1"],
        "sagemaker:VpcSecurityGroupIds": ["sg-1"],
        "sagemaker:MaxRuntimeInSeconds": "60",
    }
    assert context(bench, "sagemaker", "CreateTrainingJob", job, "iam:PassRole") == {
        "iam:PassedToService": "sagemaker.amazonaws.com",
        "iam:AssociatedResourceArn": arn("sagemaker", "training-job/j"),
    }
    assert context(bench, "s3", "ListObjectsV2", {"Bucket": "b", "Prefix": "p/"}, "s3:ListBucket")["s3:prefix"] == "p/"
    data = {"Namespace": "LLMOps/dev", "MetricData": []}
    assert context(bench, "cloudwatch", "PutMetricData", data, "cloudwatch:PutMetricData") == {
        "cloudwatch:namespace": "LLMOps/dev"
    }
    encrypted = {"KeyId": KEY, "EncryptionContext": {"aws:s3:arn": "arn:aws:s3:::b"}}
    assert context(bench, "kms", "GenerateDataKey", encrypted, "kms:GenerateDataKey") == {
        "kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::b",
        "kms:EncryptionContextKeys": ["aws:s3:arn"],
    }


def test_s3_asks_the_key_as_the_caller(bench: Bench) -> None:
    key = bench.key()
    bench.bucket("data", key=key)
    put = needs(bench, "s3", "PutObject", {"Bucket": "data", "Key": "k"})
    assert [(each.action, each.resource) for each in put] == [
        ("s3:PutObject", "arn:aws:s3:::data/k"),
        ("kms:GenerateDataKey", key),
    ]
    assert put[1].context["kms:ViaService"] == f"s3.{REGION}.amazonaws.com"
    assert put[1].context["kms:EncryptionContext:aws:s3:arn"] == "arn:aws:s3:::data"  # the bucket has a bucket key
    parts = needs(bench, "s3", "UploadPart", {"Bucket": "data", "Key": "k"})
    assert [each.action for each in parts] == ["s3:PutObject", "kms:GenerateDataKey", "kms:Decrypt"]
    bench.s3.put_object("data", "k", b"x", encryption="aws:kms", kms_key_id=key)
    got = needs(bench, "s3", "GetObject", {"Bucket": "data", "Key": "k"})
    assert [each.action for each in got] == ["s3:GetObject", "kms:Decrypt"]


def test_a_missing_object_is_told_to_those_who_may_list(bench: Bench) -> None:
    bench.bucket("data")
    got = needs(bench, "s3", "GetObject", {"Bucket": "data", "Key": "none"})
    assert [each.action for each in got] == ["s3:GetObject", "s3:ListBucket"]


def test_deleting_an_endpoint_takes_its_scalable_target_off(bench: Bench) -> None:
    arn = f"arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/1"
    target = {"ScalableTargetARN": arn, "ResourceId": "endpoint/e/variant/main"}
    shelf(bench.twin, "application-autoscaling", "targets", REGION)["e"] = target
    found = needs(bench, "sagemaker", "DeleteEndpoint", {"EndpointName": "e"})
    assert [(each.action, each.resource) for each in found][1:] == [
        ("application-autoscaling:DeregisterScalableTarget", arn)
    ]
