"""Objects of a bucket, against moto: what is missing is nothing, and of two writers one creates."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from clouds.aws.objects import S3Bucket
from contract.errors import KitError

ACCOUNT = "123456789012"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Bucket]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="there")
        yield S3Bucket(s3, "there", ACCOUNT)


def test_what_is_not_there_is_nothing(bucket: S3Bucket) -> None:
    bucket.write("a/b", b"content")
    assert (bucket.read("a/b"), bucket.read("a/b", 3), bucket.exists("a/b")) == (b"content", b"con", True)
    assert (bucket.read("a/c"), bucket.exists("a/c")) == (None, False)
    missing = S3Bucket(bucket.s3, "no-such-bucket-at-all")
    assert (missing.read("a"), missing.exists("a"), missing.folders("")) == (None, False, [])
    missing.remove("a")
    with pytest.raises(KitError, match="NoSuchBucket"):
        missing.listed("")


def test_one_of_two_writers_creates(bucket: S3Bucket) -> None:
    assert bucket.create("log/1", b"first")
    assert not bucket.create("log/1", b"second")
    assert bucket.read("log/1") == b"first"


def test_a_listing_has_objects_and_no_folders_of_the_console(bucket: S3Bucket) -> None:
    for key in ("a/", "a/1", "a/b/2", "c"):
        bucket.write(key, b"" if key.endswith("/") else b"x")
    assert list(bucket.listed("a/")) == ["a/1", "a/b/2"]
    assert bucket.folders("a/") == ["a/b"]
    bucket.remove("a/1")
    assert list(bucket.listed("a/")) == ["a/b/2"]
