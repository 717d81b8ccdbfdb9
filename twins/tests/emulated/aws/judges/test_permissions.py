"""Limited users and roles against a real twin, with boto3 as it is."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from twins.tests.support.aws import IMAGE, REGION, TRUST, RunningTwin, await_status, made_config

ACCOUNT = "000000000000"
BUCKET = "judged-store"


@pytest.fixture(scope="module")
def twin(borrow: Callable[..., RunningTwin]) -> RunningTwin:
    return borrow(judge="strict")


@pytest.fixture(scope="module")
def key(twin: RunningTwin) -> str:
    """A KMS key that the account's policies rule."""
    return twin.client("kms").create_key()["KeyMetadata"]["Arn"]


@pytest.fixture(scope="module")
def store(twin: RunningTwin, key: str) -> str:
    """A bucket that wants TLS, encrypted with the key, with a model in it."""
    s3 = twin.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    rules = [{"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}]
    s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": rules})
    no_tls = {"Bool": {"aws:SecureTransport": "false"}}
    arns = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": arns, "Condition": no_tls}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [denied]}))
    s3.put_object(Bucket=BUCKET, Key="models/a/config.json", Body=b"{}")
    return BUCKET


def allow(action: str | list[str], resource: str | list[str] = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def user(twin: RunningTwin, name: str, *statements: dict[str, Any]) -> Callable[[str], Any]:
    """Make a user with these permissions; answers a maker of its clients."""
    iam = twin.client("iam")
    iam.create_user(UserName=name)
    if statements:
        iam.put_user_policy(UserName=name, PolicyName="given", PolicyDocument=document(*statements))
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return lambda service: twin.client(service, made["AccessKeyId"], made["SecretAccessKey"])


def role(twin: RunningTwin, name: str, *statements: dict[str, Any], trust: dict[str, Any] = TRUST) -> str:
    iam = twin.client("iam")
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="given", PolicyDocument=document(*statements))
    return arn


def code(call: Callable[..., Any], **parameters: Any) -> str:
    """The error's code; empty when the call succeeds, and another one when the SDK tried it again."""
    try:
        call(**parameters)
    except ClientError as e:
        tries = e.response["ResponseMetadata"].get("RetryAttempts")
        return f"tried again {tries} times" if tries else e.response["Error"]["Code"]
    return ""


def test_a_user_without_permissions_is_denied_everywhere(twin: RunningTwin) -> None:
    nobody = user(twin, "nobody")
    assert nobody("sts").get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/nobody"
    for service, operation, parameters, expected in [
        ("s3", "list_buckets", {}, "AccessDenied"),
        ("sagemaker", "list_endpoints", {}, "AccessDeniedException"),
        ("ec2", "describe_vpcs", {}, "UnauthorizedOperation"),
        ("iam", "list_roles", {}, "AccessDenied"),
        ("sns", "create_topic", {"Name": "t"}, "AuthorizationError"),
        ("cloudwatch", "describe_alarms", {}, "AccessDenied"),
        ("kms", "create_key", {}, "AccessDeniedException"),
        ("logs", "create_log_group", {"logGroupName": "g"}, "AccessDeniedException"),
        ("ecr", "create_repository", {"repositoryName": "repo"}, "AccessDeniedException"),
        ("scheduler", "list_schedules", {}, "AccessDeniedException"),
        ("budgets", "describe_budgets", {"AccountId": ACCOUNT}, "AccessDeniedException"),
        (
            "application-autoscaling",
            "describe_scalable_targets",
            {"ServiceNamespace": "sagemaker"},
            "AccessDeniedException",
        ),
        ("sagemaker-runtime", "invoke_endpoint", {"EndpointName": "e", "Body": b"{}"}, "AccessDeniedException"),
    ]:
        assert code(getattr(nobody(service), operation), **parameters) == expected, service


def test_a_reader_reads_its_prefix_and_needs_the_key(twin: RunningTwin, store: str, key: str) -> None:
    bucket = f"arn:aws:s3:::{store}"
    listing = allow("s3:ListBucket", bucket, Condition={"StringLike": {"s3:prefix": "models/*"}})
    reading = allow("s3:GetObject", f"{bucket}/models/*")
    via = {"StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}}
    keyless = user(twin, "keyless", listing, reading)("s3")
    reader = user(twin, "reader", listing, reading, allow("kms:Decrypt", key, Condition=via))
    s3 = reader("s3")
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=store, Prefix="models/a/")["Contents"]] == [
        "models/a/config.json"
    ]
    assert code(s3.list_objects_v2, Bucket=store) == "AccessDenied"
    assert s3.get_object(Bucket=store, Key="models/a/config.json")["Body"].read() == b"{}"
    assert code(keyless.get_object, Bucket=store, Key="models/a/config.json") == "AccessDenied"
    assert code(s3.put_object, Bucket=store, Key="models/a/config.json", Body=b"") == "AccessDenied"
    assert code(reader("kms").generate_data_key, KeyId=key, KeySpec="AES_256") == "AccessDeniedException"


def test_a_writer_of_parts_needs_the_key_for_both_ways(twin: RunningTwin, store: str, key: str) -> None:
    writing = allow(["s3:PutObject", "s3:AbortMultipartUpload"], f"arn:aws:s3:::{store}/*")
    half = user(twin, "half", writing, allow("kms:GenerateDataKey", key))("s3")
    whole = user(twin, "whole", writing, allow(["kms:GenerateDataKey", "kms:Decrypt"], key))("s3")
    assert code(half.put_object, Bucket=store, Key="up", Body=b"x") == ""
    assert code(half.create_multipart_upload, Bucket=store, Key="up") == "AccessDenied"
    whole.upload_fileobj(io.BytesIO(b"x" * (9 << 20)), store, "up")


def test_a_missing_object_is_hidden_from_those_who_may_not_list(twin: RunningTwin, store: str) -> None:
    reading = allow("s3:GetObject", f"arn:aws:s3:::{store}/*")
    blind = user(twin, "blind", reading)("s3")
    seeing = user(twin, "seeing", reading, allow("s3:ListBucket"))("s3")
    assert code(blind.get_object, Bucket=store, Key="none") == "AccessDenied"
    assert code(seeing.get_object, Bucket=store, Key="none") == "NoSuchKey"
    assert code(seeing.head_object, Bucket=store, Key="none") == "404"


def test_a_deployer_with_a_boundary_can_only_make_roles_within_it(twin: RunningTwin) -> None:
    iam = twin.client("iam")
    boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=document(allow("s3:*")))["Policy"]["Arn"]
    bound = {"StringEquals": {"iam:PermissionsBoundary": boundary}}
    deployer = user(twin, "deployer", allow(["iam:CreateRole", "iam:PutRolePolicy"], Condition=bound))("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}],
    }
    made = {"RoleName": "bound", "AssumeRolePolicyDocument": json.dumps(trust)}
    assert code(deployer.create_role, **made) == "AccessDenied"
    arn = deployer.create_role(**made, PermissionsBoundary=boundary)["Role"]["Arn"]
    deployer.put_role_policy(RoleName="bound", PolicyName="all", PolicyDocument=document(allow("*")))
    assuming = user(twin, "assuming", allow("sts:AssumeRole", arn))("sts")
    session = assuming.assume_role(RoleArn=arn, RoleSessionName="session")["Credentials"]
    keys = (session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])
    assert code(twin.client("s3", *keys).list_buckets) == ""
    assert code(twin.client("sagemaker", *keys).list_models) == "AccessDeniedException"
    narrow = assuming.assume_role(RoleArn=arn, RoleSessionName="narrow", Policy=document(allow("s3:GetObject")))[
        "Credentials"
    ]
    keys = (narrow["AccessKeyId"], narrow["SecretAccessKey"], narrow["SessionToken"])
    assert code(twin.client("s3", *keys).list_buckets) == "AccessDenied"


def test_a_role_is_passed_by_those_who_may(twin: RunningTwin, store: str) -> None:
    serving = role(twin, "serving", allow("*"))
    source = {"S3Uri": f"s3://{store}/models/a/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {"Image": IMAGE, "ModelDataSource": {"S3DataSource": source}}
    model = {"ModelName": "passed", "ExecutionRoleArn": serving, "PrimaryContainer": container}
    making = allow("sagemaker:CreateModel")
    assert code(user(twin, "making", making)("sagemaker").create_model, **model) == "AccessDeniedException"
    passed = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    passing = user(twin, "passing", making, allow("iam:PassRole", serving, Condition=passed))("sagemaker")
    tagged = {**model, "Tags": [{"Key": "team", "Value": "a"}]}
    assert code(passing.create_model, **tagged) == "AccessDeniedException"  # sagemaker:AddTags
    assert code(passing.create_model, **model) == ""


NEEDED = ["s3:ListBucket", "s3:GetObject", "kms:Decrypt", "logs:CreateLogStream", "cloudwatch:PutMetricData"]


@pytest.mark.parametrize("missing", ["", *NEEDED])
def test_an_endpoint_fails_when_its_role_lacks_an_action(twin: RunningTwin, store: str, missing: str) -> None:
    name = f"judged-{missing.replace(':', '-').lower() or 'whole'}"
    rest = ["logs:CreateLogGroup", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    # CreateModel looks for the data itself: the role loses the action when the model is there.
    arn = role(twin, name, allow([*NEEDED, *rest]))
    sagemaker = twin.client("sagemaker")
    source = {"S3Uri": f"s3://{store}/models/a/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {"Image": IMAGE, "ModelDataSource": {"S3DataSource": source}}
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=arn, PrimaryContainer=container)
    left = [each for each in NEEDED if each != missing]
    twin.client("iam").put_role_policy(
        RoleName=name, PolicyName="given", PolicyDocument=document(allow([*left, *rest]))
    )
    made_config(twin, name, name)
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    found = await_status(twin, name, "Failed", "InService")
    if missing:
        assert found["EndpointStatus"] == "Failed"
        assert missing in found["FailureReason"]
    else:
        assert found["EndpointStatus"] == "InService"


def test_the_root_is_judged_by_what_a_resource_denies(twin: RunningTwin) -> None:
    s3 = twin.client("s3")
    s3.create_bucket(Bucket="locked-away")
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::locked-away/*"}
    s3.put_bucket_policy(Bucket="locked-away", Policy=document(denied))
    s3.put_object(Bucket="locked-away", Key="k", Body=b"x")
    assert code(s3.get_object, Bucket="locked-away", Key="k") == "AccessDenied"


def test_a_quota_is_exceeded_in_aws_words(twin: RunningTwin) -> None:
    sagemaker = twin.client("sagemaker")
    arn = role(twin, "quota", allow("*"))
    sagemaker.create_model(ModelName="quota", ExecutionRoleArn=arn, PrimaryContainer={"Image": IMAGE})
    made_config(twin, "quota", "quota", count=2)
    twin.ask("PUT", "settings", {"quotas": {"ml.g5.xlarge for endpoint usage": 1}})
    try:
        with pytest.raises(ClientError, match=r"'ml\.g5\.xlarge for endpoint usage' is 1 Instances") as raised:
            sagemaker.create_endpoint(EndpointName="quota", EndpointConfigName="quota")
        assert raised.value.response["Error"]["Code"] == "ResourceLimitExceeded"
    finally:
        twin.ask("PUT", "settings", {"quotas": {}})


def test_what_was_asked_is_recorded(twin: RunningTwin) -> None:
    asking = user(twin, "asking", allow("s3:ListAllMyBuckets"))
    asking("s3").list_buckets()
    assert code(asking("sns").create_topic, Name="t") == "AuthorizationError"
    arn = f"arn:aws:iam::{ACCOUNT}:user/asking"
    recorded = [each for each in twin.ask("GET", "recorded")["recorded"] if each["principal"] == arn]
    assert [(each["action"], each["resource"], each["allowed"]) for each in recorded] == [
        ("s3:ListAllMyBuckets", "*", True),
        ("sns:CreateTopic", f"arn:aws:sns:{REGION}:{ACCOUNT}:t", False),
    ]


def test_the_judge_can_be_turned_off_and_on(twin: RunningTwin) -> None:
    nobody = user(twin, "off")
    twin.ask("PUT", "settings", {"judge": "off"})
    try:
        assert code(nobody("s3").list_buckets) == ""
    finally:
        twin.ask("PUT", "settings", {"judge": "strict"})
    assert code(nobody("s3").list_buckets) == "AccessDenied"
