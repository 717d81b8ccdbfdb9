"""CloudTrail: trails by name or ARN, with their own selectors; made where the trail's files can be delivered."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from twins.tests.support.aws import REGION, RunningTwin

TRAIL = f"arn:aws:cloudtrail:{REGION}:000000000000:trail"
MANAGEMENT = {"FieldSelectors": [{"Field": "eventCategory", "Equals": ["Management"]}]}
DATA = {"Field": "eventCategory", "Equals": ["Data"]}


@pytest.fixture(scope="module")
def strict(borrow: Callable[..., RunningTwin]) -> RunningTwin:
    """A twin that judges."""
    return borrow(judge="strict")


def allowed(bucket: str, trail: str, *actions: str) -> str:
    """A bucket's policy that lets one trail do something."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "cloudtrail.amazonaws.com"},
        "Action": [f"s3:{each}" for each in actions],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/AWSLogs/*"],
        "Condition": {"StringEquals": {"aws:SourceArn": f"{TRAIL}/{trail}"}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def made(twin: RunningTwin, bucket: str, policy: str, trail: str, **more: Any) -> str:
    """Makes a bucket with a policy, and a trail into it; returns the trail's ARN."""
    twin.client("s3").create_bucket(Bucket=bucket)
    twin.client("s3").put_bucket_policy(Bucket=bucket, Policy=policy)
    return twin.client("cloudtrail").create_trail(Name=trail, S3BucketName=bucket, **more)["TrailARN"]


def test_a_trail_needs_a_bucket_that_takes_its_files(strict: RunningTwin) -> None:
    both = ("GetBucketAcl", "PutObject")
    made(strict, "takes", allowed("takes", "one", *both), "one")
    for bucket, policy in (
        ("half", allowed("half", "two", "PutObject")),
        ("anothers", allowed("anothers", "x", *both)),
    ):
        with pytest.raises(ClientError, match=f"InsufficientS3BucketPolicyException.*: {bucket}"):
            made(strict, bucket, policy, "two")
    assert [each["Name"] for each in strict.client("cloudtrail").describe_trails()["trailList"]] == ["one"]


def test_a_trail_needs_a_key_that_encrypts_for_it(strict: RunningTwin) -> None:
    key = strict.client("kms").create_key()["KeyMetadata"]["Arn"]
    policy = allowed("sealed", "three", "GetBucketAcl", "PutObject")
    with pytest.raises(ClientError, match="InsufficientEncryptionPolicyException"):
        made(strict, "sealed", policy, "three", KmsKeyId=key)


def test_a_trail_is_found_and_deleted_by_its_name_and_its_arn(strict: RunningTwin) -> None:
    cloudtrail, both = strict.client("cloudtrail"), ("GetBucketAcl", "PutObject")
    first = made(strict, "first", allowed("first", "four", *both), "four")
    second = made(strict, "second", allowed("second", "five", *both), "five")
    for asked in ("five", second):
        (found,) = cloudtrail.describe_trails(trailNameList=[asked])["trailList"]
        assert (found["TrailARN"], found["HasCustomEventSelectors"]) == (second, False)
    cloudtrail.put_event_selectors(TrailName=second, AdvancedEventSelectors=[MANAGEMENT])
    assert cloudtrail.get_trail(Name="five")["Trail"]["HasCustomEventSelectors"] is True
    cloudtrail.delete_trail(Name=second)
    with pytest.raises(ClientError, match="TrailNotFoundException"):
        cloudtrail.delete_trail(Name=second)
    cloudtrail.delete_trail(Name="four")
    assert first not in [each["TrailARN"] for each in cloudtrail.describe_trails()["trailList"]]


@pytest.mark.parametrize(
    "fields",
    [
        [{"Field": "resources.type", "Equals": ["AWS::S3::Object"]}],
        [{"Field": "eventCategory", "NotEquals": ["Data"]}],
        [{"Field": "eventCategory", "Equals": ["Everything"]}],
        [DATA],
    ],
)
def test_selectors_without_what_they_need_are_refused(strict: RunningTwin, fields: list[dict[str, Any]]) -> None:
    with pytest.raises(ClientError, match="InvalidEventSelectorsException"):
        strict.client("cloudtrail").put_event_selectors(
            TrailName="one", AdvancedEventSelectors=[{"FieldSelectors": fields}]
        )
