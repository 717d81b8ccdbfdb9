"""The policy of what was recorded: exact, small, with a `*` only where a name is not the same the next time."""

from typing import Any

from llmops_twins.aws.judges.recorded_policy import policy_document
from twins.tests.unit.aws.judges.bench import Bench, policy

HERE = "eu-central-1:000000000000"
THERE: dict[str, Any] = {"account": "111122223333", "region": "us-west-2"}


def records(*pairs: tuple[str, str], allowed: bool = True) -> list[dict[str, Any]]:
    return [{"principal": "p", "action": action, "resource": arn, "allowed": allowed} for action, arn in pairs]


def resources(*arns: str) -> list[str] | str:
    document = policy_document(records(*[("x:Do", arn) for arn in arns]), **THERE)
    assert len(document["Statement"]) == 1
    return document["Statement"][0]["Resource"]


def test_actions_on_the_same_resources_share_a_statement() -> None:
    bucket = "arn:aws:s3:::data"
    recorded = records(("s3:GetBucketAcl", bucket), ("s3:ListBucket", bucket), ("ecr:GetAuthorizationToken", "*"))
    assert policy_document(recorded, **THERE) == {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["ecr:GetAuthorizationToken"], "Resource": "*"},
            {"Effect": "Allow", "Action": ["s3:GetBucketAcl", "s3:ListBucket"], "Resource": [bucket]},
        ],
    }


def test_what_was_denied_is_not_allowed() -> None:
    assert policy_document(records(("s3:ListAllMyBuckets", "*"), allowed=False), **THERE)["Statement"] == []


def test_names_are_of_the_account_and_region_that_it_is_for() -> None:
    assert resources(f"arn:aws:sagemaker:{HERE}:endpoint/chat") == [
        "arn:aws:sagemaker:us-west-2:111122223333:endpoint/chat"
    ]
    assert resources("arn:aws:iam::000000000000:role/r") == ["arn:aws:iam::111122223333:role/r"]
    assert resources("arn:aws:iam::aws:policy/ReadOnlyAccess") == ["arn:aws:iam::aws:policy/ReadOnlyAccess"]
    china = policy_document(records(("s3:ListBucket", "arn:aws:s3:::data")), **THERE, partition="aws-cn")
    assert china["Statement"][0]["Resource"] == ["arn:aws-cn:s3:::data"]


def test_names_that_change_are_general() -> None:
    there = "us-west-2:111122223333"
    for recorded, general in [
        (f"kms:{HERE}:key/11111111-2222-3333-4444-555555555555", f"kms:{there}:key/*"),
        (f"kms:{HERE}:key/*", f"kms:{there}:key/*"),
        (f"ec2:{HERE}:vpc/vpc-0123456789abcdef0", f"ec2:{there}:vpc/*"),
        (f"application-autoscaling:{HERE}:scalable-target/abc", f"application-autoscaling:{there}:scalable-target/*"),
        (f"secretsmanager:{HERE}:secret:name-AbCdEf", f"secretsmanager:{there}:secret:name-*"),
        (f"logs:{HERE}:log-group:/g:log-stream:", f"logs:{there}:log-group:/g:*"),
        (
            f"sagemaker:{HERE}:model/kit-dev-chat-0a1b2c3d-89abcdef-2",
            f"sagemaker:{there}:model/kit-dev-chat-0a1b2c3d-*",
        ),
        (f"sagemaker:{HERE}:endpoint/kit-dev-chat-0a1b2c3d", f"sagemaker:{there}:endpoint/kit-dev-chat-0a1b2c3d"),
        (f"sagemaker:{HERE}:model-package/g/3", f"sagemaker:{there}:model-package/g/*"),
        ("s3:::kit-dev-store-0123456789ab", "s3:::kit-dev-store-*"),
        ("s3:::data/models/0a1b/config.json", "s3:::data/models/*"),
        ("s3:::data/top.json", "s3:::data/top.json"),
    ]:
        assert resources(f"arn:aws:{recorded}") == [f"arn:aws:{general}"]


def test_a_general_name_covers_the_others() -> None:
    vpc = f"arn:aws:ec2:{HERE}:vpc/"
    assert resources(f"{vpc}*", f"{vpc}vpc-1", f"{vpc}vpc-2") == ["arn:aws:ec2:us-west-2:111122223333:vpc/*"]


def test_the_policy_of_a_recording_allows_the_same_again(bench: Bench) -> None:
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("s3", "CreateBucket", {"Bucket": "kit-dev-store-0123456789ab"}),
        ("kms", "CreateKey", {"Tags": [{"TagKey": "a", "TagValue": "b"}]}),
        ("ec2", "CreateVpc", {"TagSpecifications": [{"ResourceType": "vpc", "Tags": [{"Key": "a", "Value": "b"}]}]}),
        ("logs", "CreateLogGroup", {"logGroupName": "/g"}),
        ("sagemaker", "CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": "c"}),
    ]
    root = "arn:aws:iam::000000000000:root"
    for service, operation, parameters in calls:
        assert bench.refusal(service, operation, parameters, root) is None
    recorded = [
        {"action": action, "resource": arn, "allowed": yes} for _, action, arn, yes in bench.twin.state["recorded"]
    ]
    document = policy_document(recorded, account="000000000000", region="eu-central-1")
    user = bench.user("deployer", *document["Statement"])
    for service, operation, parameters in calls:
        assert bench.refusal(service, operation, parameters, user) is None
    for statement in document["Statement"]:  # and each of its actions is needed
        for action in statement["Action"]:
            rest = [each for each in document["Statement"] if each is not statement]
            kept = {**statement, "Action": [each for each in statement["Action"] if each != action]}
            bench.iam.users["deployer"].policies["given"] = policy(*rest, *([kept] if kept["Action"] else []))
            assert any(bench.refusal(each[0], each[1], each[2], user) for each in calls), action
