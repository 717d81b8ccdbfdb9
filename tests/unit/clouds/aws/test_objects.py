"""Objects of a bucket, against moto: what is missing is nothing, and of two writers one creates."""

from collections.abc import Iterator

import boto3
import pytest
from botocore.exceptions import ResponseStreamingError
from botocore.response import StreamingBody
from moto import mock_aws

from llmops_kit.clouds.aws.objects import S3Bucket
from llmops_kit.core.errors import IntegrityError, KitError

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


def test_an_object_is_streamed_from_a_byte_on_while_it_is_the_same(bucket: S3Bucket) -> None:
    content = bytes(range(256)) * 10_000
    for key in ("a/", "a/1", "b"):
        bucket.write(key, b"" if key.endswith("/") else content)
    (entry,) = bucket.entries("a/")
    assert (entry.key, entry.size) == ("a/1", len(content))
    assert b"".join(bucket.stream("a/1", entry.etag, 0)) == content
    assert b"".join(bucket.stream("a/1", entry.etag, 2_000_001)) == content[2_000_001:]
    bucket.write("a/1", b"new")
    with pytest.raises(IntegrityError):
        list(bucket.stream("a/1", entry.etag, 0))
    with pytest.raises(KitError):
        list(bucket.stream("a/none", entry.etag, 0))


def test_a_stream_that_breaks_goes_on_where_it_broke(bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    content, starts, read = bytes(range(256)) * 10_000, [], StreamingBody.iter_chunks
    bucket.write("a", content)

    def break_twice(body: StreamingBody, size: int) -> Iterator[bytes]:
        for number, piece in enumerate(read(body, size)):
            if number == 1 and len(starts) < 3:
                raise ResponseStreamingError(error="reset")
            yield piece

    def asked(params: dict[str, str], **_: object) -> None:
        starts.append(params.get("Range", ""))

    monkeypatch.setattr(StreamingBody, "iter_chunks", break_twice)
    bucket.s3.meta.events.register("provide-client-params.s3.GetObject", asked)
    assert b"".join(bucket.stream("a", next(bucket.entries("a")).etag, 0)) == content
    assert starts == ["", f"bytes={1 << 20}-", f"bytes={2 << 20}-"]
