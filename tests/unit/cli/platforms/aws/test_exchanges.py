"""Calls of boto3 as a recording keeps them: shapes, AWS's own words, and nobody's names."""

import json
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.exchanges import VARIABLE, recorded


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AwsClients:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "hush",
        "AWS_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return AwsClients()


@mock_aws
def test_names_accounts_and_contents_are_no_part_of_it(clients: AwsClients, tmp_path: Path) -> None:
    s3, iam = clients("s3"), clients("iam")
    where = {"LocationConstraint": "eu-central-1"}
    s3.create_bucket(Bucket="acme-payroll", CreateBucketConfiguration=where)
    s3.put_object(
        Bucket="acme-payroll", Key="anna", Body=b"hello", Metadata={"person": "anna"}, StorageClass="STANDARD"
    )
    tags = {"TagSet": [{"Key": "team", "Value": "payroll"}]}
    s3.put_bucket_tagging(Bucket="acme-payroll", Tagging=tags)
    iam.create_user(UserName="anna")
    iam.create_access_key(UserName="anna")
    with pytest.raises(s3.exceptions.ClientError):
        s3.get_object(Bucket="acme-payroll", Key="bert")
    found = {each["call"]: each for each in recorded(tmp_path)}
    put = found["s3 PutObject"]["request"]
    assert (put["Body"], put["StorageClass"]) == ("~bytes", "STANDARD")
    assert [key[0] for key in put["Metadata"]] == ["~"]
    assert found["s3 PutBucketTagging"]["request"]["Tagging"]["TagSet"][0].keys() == {"Key", "Value"}
    assert put["Bucket"] == found["s3 CreateBucket"]["request"]["Bucket"] != put["Key"]
    assert (found["s3 GetObject"]["status"], found["s3 GetObject"]["code"]) == (404, "NoSuchKey")
    key = found["iam CreateAccessKey"]["answer"]["AccessKey"]
    assert key["Status"] == "Active"
    assert key["SecretAccessKey"].startswith("~")
    account = boto3.client("sts").get_caller_identity()["Account"]
    text = json.dumps(list(found.values()))
    assert [word for word in ("acme", "payroll", "anna", "bert", "hush", "hello", account) if word in text] == []
