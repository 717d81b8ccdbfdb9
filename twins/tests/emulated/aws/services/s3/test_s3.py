"""Buckets begin as AWS makes them, settings come back whole, a TLS-only policy locks nobody out."""

import base64
import json
from contextlib import suppress
from hashlib import sha256
from typing import Any
from urllib.request import urlopen

import pytest
from botocore.exceptions import ClientError

from tests.support.clouds.twin_keys import asked
from tests.support.servers.serving import until
from twins.tests.support.aws import RunningTwin

BUCKET = "settings-of-tests"


@pytest.fixture(scope="module")
def s3(twin: RunningTwin) -> Any:
    """A client, of a twin with one bucket."""
    client = twin.client("s3")
    client.create_bucket(Bucket=BUCKET)
    return client


def test_bucket_begins_encrypted_private_and_owned(s3: Any) -> None:
    s3.create_bucket(Bucket="fresh-of-tests")
    [rule] = s3.get_bucket_encryption(Bucket="fresh-of-tests")["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert all(s3.get_public_access_block(Bucket="fresh-of-tests")["PublicAccessBlockConfiguration"].values())
    [rule] = s3.get_bucket_ownership_controls(Bucket="fresh-of-tests")["OwnershipControls"]["Rules"]
    assert rule["ObjectOwnership"] == "BucketOwnerEnforced"
    assert s3.get_bucket_request_payment(Bucket="fresh-of-tests")["Payer"] == "BucketOwner"


def test_policy_that_denies_plain_http_blocks_nobody_here(s3: Any) -> None:
    """moto ignores the condition and refuses every object."""
    resources = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": resources}
    deny["Condition"] = {"Bool": {"aws:SecureTransport": "false"}}  # pyright: ignore[reportArgumentType]
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"1")
    assert s3.get_object(Bucket=BUCKET, Key="a")["Body"].read() == b"1"
    s3.delete_bucket_policy(Bucket=BUCKET)


def test_versions_of_an_object_in_parts_are_listed_when_its_parts_are_gone(twin: RunningTwin, s3: Any) -> None:
    """Parts that were written to the disk are removed from there when the object is complete."""
    place = {"Bucket": BUCKET, "Key": "large"}
    bodies = twin.home / "objects"
    upload = s3.create_multipart_upload(**place)["UploadId"]
    content = [b"a" * 5_242_880, b"b"]
    parts = [s3.upload_part(**place, UploadId=upload, PartNumber=i, Body=b) for i, b in enumerate(content, start=1)]

    def sizes() -> set[int]:
        found = set()
        for path in bodies.glob("*"):
            with suppress(FileNotFoundError):  # it is removed just now
                found.add(path.stat().st_size)
        return found

    until(lambda: sizes() >= {5_242_880, 1})
    listed = [{"PartNumber": i, "ETag": part["ETag"]} for i, part in enumerate(parts, start=1)]
    s3.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": listed})
    until(lambda: 5_242_881 in sizes() and 5_242_880 not in sizes())
    [version] = s3.list_object_versions(Bucket=BUCKET, Prefix="large")["Versions"]
    assert (version["Size"], version["IsLatest"]) == (5_242_881, True)
    assert version["ETag"] == s3.head_object(**place)["ETag"]
    assert s3.get_object(**place)["Body"].read() == b"".join(content)


def test_lifecycle_comes_back_whole(s3: Any) -> None:
    rules = [
        {
            "ID": "old",
            "Status": "Enabled",
            "Filter": {"And": {"Prefix": "runs/", "ObjectSizeGreaterThan": 100}},
            "Expiration": {"Days": 30},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 30, "NewerNoncurrentVersions": 3},
        },
        {
            "ID": "uploads",
            "Status": "Enabled",
            "Filter": {},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        },
    ]
    s3.put_bucket_lifecycle_configuration(
        Bucket=BUCKET,
        LifecycleConfiguration={"Rules": rules},
        TransitionDefaultMinimumObjectSize="varies_by_storage_class",
    )
    shown = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)
    assert shown["Rules"] == rules
    assert shown["TransitionDefaultMinimumObjectSize"] == "varies_by_storage_class"
    s3.delete_bucket_lifecycle(Bucket=BUCKET)
    with pytest.raises(ClientError, match="NoSuchLifecycleConfiguration"):
        s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)


def test_notification_comes_back_and_its_destination_must_be_there(s3: Any) -> None:
    s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={"EventBridgeConfiguration": {}})
    assert s3.get_bucket_notification_configuration(Bucket=BUCKET)["EventBridgeConfiguration"] == {}
    topic = {"TopicArn": "arn:aws:sns:us-east-1:000000000000:none", "Events": ["s3:ObjectCreated:*"]}
    with pytest.raises(ClientError, match="Unable to validate the following destination configurations"):
        s3.put_bucket_notification_configuration(
            Bucket=BUCKET, NotificationConfiguration={"TopicConfigurations": [topic]}
        )


def test_encryption_is_never_off_and_its_key_must_work(twin: RunningTwin, s3: Any) -> None:
    kms = twin.client("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(
        Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [{**rule, "BucketKeyEnabled": True}]}
    )
    assert s3.put_object(Bucket=BUCKET, Key="k", Body=b"1")["SSEKMSKeyId"] == key
    kms.disable_key(KeyId=key)
    with pytest.raises(ClientError, match=r"KMS\.DisabledException"):
        s3.put_object(Bucket=BUCKET, Key="k", Body=b"1")
    with pytest.raises(ClientError, match=r"KMS\.DisabledException"):
        s3.get_object(Bucket=BUCKET, Key="k")
    s3.delete_bucket_encryption(Bucket=BUCKET)
    [left] = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
    assert left["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


def test_conditional_create_and_versions(s3: Any) -> None:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=BUCKET, Key="once", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=BUCKET, Key="once", Body=b"2", IfNoneMatch="*")
    s3.delete_object(Bucket=BUCKET, Key="once")
    s3.put_object(Bucket=BUCKET, Key="once", Body=b"3", IfNoneMatch="*")
    listed = s3.list_object_versions(Bucket=BUCKET, Prefix="once")
    doomed = [
        {"Key": each["Key"], "VersionId": each["VersionId"]} for each in [*listed["Versions"], *listed["DeleteMarkers"]]
    ]
    assert len(doomed) == 3
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": doomed})
    assert "Versions" not in s3.list_object_versions(Bucket=BUCKET, Prefix="once")


@pytest.mark.parametrize("name", ["Upper-Case", "under_score", "127.0.0.1", "dots..twice"])
def test_name_that_can_not_be_is_refused(twin: RunningTwin, name: str) -> None:
    client = twin.client("s3")
    client.meta.events.unregister("before-parameter-build.s3", None)
    with pytest.raises(ClientError, match="InvalidBucketName"):
        client.create_bucket(Bucket=name)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        (3, "MalformedPolicy"),
        (
            {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::other/*"},
            "MalformedPolicy",
        ),
        (
            {
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::000000000000:role/none"},
                "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{BUCKET}/*",
            },
            "MalformedPolicy",
        ),
        (
            {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"},
            "AccessDenied",
        ),
    ],
)
def test_policy_that_can_not_be_is_refused(s3: Any, statement: Any, code: str) -> None:
    with pytest.raises(ClientError) as refused:
        s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": statement}))
    assert refused.value.response["Error"]["Code"] == code


def test_acl_is_refused_where_the_owner_owns_everything(s3: Any) -> None:
    with pytest.raises(ClientError, match="AccessControlListNotSupported"):
        s3.put_object(Bucket=BUCKET, Key="acl", Body=b"", ACL="public-read")


def base64_of(data: bytes) -> str:
    return base64.b64encode(sha256(data).digest()).decode()


def sum_of(s3: Any, key: str) -> tuple[str, str]:
    found = s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
    got = s3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
    assert (got["ChecksumSHA256"], got["ChecksumType"]) == (found["ChecksumSHA256"], found["ChecksumType"])
    return found["ChecksumSHA256"], found["ChecksumType"]


def refused(call: Any, **given: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**given)
    return caught.value.response["Error"]["Code"]


def test_a_sum_that_does_not_fit_is_refused_and_the_right_one_kept(s3: Any) -> None:
    place = {"Bucket": BUCKET, "Key": "summed"}
    for wrong, code in ((base64_of(b"other"), "BadDigest"), ("bm9uZQ==", "InvalidRequest")):
        assert refused(s3.put_object, **place, Body=b"content", ChecksumSHA256=wrong) == code
    s3.put_object(**place, Body=b"content", ChecksumAlgorithm="SHA256")
    assert sum_of(s3, "summed") == (base64_of(b"content"), "FULL_OBJECT")
    s3.put_object(**place, Body=b"own", ChecksumSHA256=base64_of(b"own"))
    assert sum_of(s3, "summed") == (base64_of(b"own"), "FULL_OBJECT")


def test_an_upload_in_parts_has_a_sum_of_sums_and_its_copy_one_of_the_whole(s3: Any) -> None:
    content = [b"a" * 5_242_880, b"b"]
    place = {"Bucket": BUCKET, "Key": "in-parts"}
    upload = s3.create_multipart_upload(**place, ChecksumAlgorithm="SHA256")["UploadId"]
    listed = []
    for number, data in enumerate(content, start=1):
        part = s3.upload_part(**place, UploadId=upload, PartNumber=number, Body=data, ChecksumAlgorithm="SHA256")
        listed.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": base64_of(data)})
    wrong = [{**listed[0], "ChecksumSHA256": base64_of(b"c")}, listed[1]]
    end = {**place, "UploadId": upload}
    assert refused(s3.complete_multipart_upload, **end, MultipartUpload={"Parts": wrong}) == "InvalidPart"
    assert refused(s3.complete_multipart_upload, **end, MultipartUpload={"Parts": listed[::-1]}) == "InvalidPartOrder"
    assert s3.complete_multipart_upload(**end, MultipartUpload={"Parts": listed})["ETag"].endswith('-2"')
    sums = base64_of(b"".join(sha256(data).digest() for data in content))
    assert sum_of(s3, "in-parts") == (f"{sums}-2", "COMPOSITE")
    assert s3.get_object(**place)["Body"].read() == b"".join(content)
    copied = {"Bucket": BUCKET, "Key": "copied", "CopySource": {"Bucket": BUCKET, "Key": "in-parts"}}
    answer = s3.copy_object(**copied, ChecksumAlgorithm="SHA256")["CopyObjectResult"]
    assert answer["ChecksumSHA256"] == base64_of(b"".join(content))
    assert sum_of(s3, "copied") == (base64_of(b"".join(content)), "FULL_OBJECT")


def test_a_copy_in_parts_is_of_ranges(s3: Any) -> None:
    content = b"a" * 5_242_880 + b"bc"
    s3.put_object(Bucket=BUCKET, Key="ranges", Body=content)
    place = {"Bucket": BUCKET, "Key": "of-ranges"}
    upload = s3.create_multipart_upload(**place, ChecksumAlgorithm="SHA256")["UploadId"]
    given = {**place, "UploadId": upload, "CopySource": {"Bucket": BUCKET, "Key": "ranges"}}
    assert refused(s3.upload_part_copy, **given, PartNumber=1, CopySourceRange="bytes=0-9999999") == "InvalidArgument"
    listed = []
    for number, range_ in ((1, "0-5242879"), (2, "5242881-5242881")):
        part = s3.upload_part_copy(**given, PartNumber=number, CopySourceRange=f"bytes={range_}")["CopyPartResult"]
        listed.append({"PartNumber": number, **{name: part[name] for name in ("ETag", "ChecksumSHA256")}})
    s3.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": listed})
    assert s3.get_object(**place)["Body"].read() == content[:-2] + b"c"
    sums = base64_of(sha256(content[:-2]).digest() + sha256(b"c").digest())
    assert sum_of(s3, "of-ranges") == (f"{sums}-2", "COMPOSITE")
    assert refused(s3.upload_part_copy, **given, PartNumber=1) == "NoSuchUpload"


def test_a_copy_keeps_to_conditions_and_takes_what_it_is_told_of_its_source(s3: Any) -> None:
    source = {"Bucket": BUCKET, "Key": "source"}
    s3.put_object(**source, Body=b"1", Metadata={"who": "them"}, Tagging="a=b")
    etag = s3.head_object(**source)["ETag"]
    given = {"Bucket": BUCKET, "Key": "target", "CopySource": source}
    assert refused(s3.copy_object, **given, CopySourceIfMatch='"other"') == "PreconditionFailed"
    assert refused(s3.copy_object, **given, CopySourceIfNoneMatch=etag) == "PreconditionFailed"
    assert refused(s3.copy_object, **{**given, "CopySource": {"Bucket": BUCKET, "Key": "none"}}) == "NoSuchKey"
    assert refused(s3.copy_object, **{**given, "Key": "source"}) == "InvalidRequest"
    for directive, kept in (("COPY", True), ("REPLACE", False)):
        s3.copy_object(**given, CopySourceIfMatch=etag, MetadataDirective=directive, TaggingDirective=directive)
        found = s3.get_object(Bucket=BUCKET, Key="target")
        assert found["Body"].read() == b"1"
        assert found["Metadata"] == ({"who": "them"} if kept else {})
        assert bool(s3.get_object_tagging(Bucket=BUCKET, Key="target")["TagSet"]) == kept


@pytest.fixture(scope="module")
def evil(twin: RunningTwin) -> str:
    """A bucket of another account that lets everybody in."""
    body = json.dumps({"bucket": "llmops-evil"}).encode()
    with urlopen(asked(twin.home, twin.info.url, "strangers", "POST", body), timeout=60) as answer:
        assert answer.status == 201
    return "llmops-evil"


def test_a_strangers_bucket_is_reached_by_its_name_and_is_nobodys_to_make(s3: Any, evil: str) -> None:
    s3.put_object(Bucket=evil, Key="a", Body=b"1")
    assert s3.get_object(Bucket=evil, Key="a")["Body"].read() == b"1"
    assert evil not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    with pytest.raises(ClientError, match="BucketAlreadyExists"):
        s3.create_bucket(Bucket=evil)


def test_a_bucket_of_another_owner_than_expected_is_refused(s3: Any, evil: str) -> None:
    s3.create_bucket(Bucket="expected")
    s3.put_object(Bucket="expected", Key="a", Body=b"1", ExpectedBucketOwner="000000000000")
    s3.get_bucket_versioning(Bucket="expected", ExpectedBucketOwner="000000000000")
    source = {"Bucket": "expected", "Key": "a"}
    for call, given in (
        (s3.put_object, {**source, "Body": b"2", "ExpectedBucketOwner": "999999999999"}),
        (s3.get_object, {**source, "ExpectedBucketOwner": "999999999999"}),
        (s3.get_bucket_versioning, {"Bucket": "expected", "ExpectedBucketOwner": "999999999999"}),
        (s3.put_object, {"Bucket": evil, "Key": "a", "Body": b"2", "ExpectedBucketOwner": "000000000000"}),
        (
            s3.copy_object,
            {"Bucket": "expected", "Key": "b", "CopySource": source, "ExpectedSourceBucketOwner": "999999999999"},
        ),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            call(**given)
    with pytest.raises(ClientError, match="403"):
        s3.head_object(**source, ExpectedBucketOwner="999999999999")
    with pytest.raises(ClientError, match="404"):
        s3.head_bucket(Bucket="nobodys", ExpectedBucketOwner="999999999999")
    assert s3.get_object(**source)["Body"].read() == b"1"


def test_a_deleted_object_is_missing_under_its_marker(s3: Any) -> None:
    s3.create_bucket(Bucket="markers")
    s3.put_bucket_versioning(Bucket="markers", VersioningConfiguration={"Status": "Enabled"})
    place = {"Bucket": "markers", "Key": "a"}
    first = s3.put_object(**place, Body=b"1")["VersionId"]
    marker = s3.delete_object(**place)["VersionId"]
    with pytest.raises(s3.exceptions.NoSuchKey) as missing:
        s3.get_object(**place)
    headers = missing.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert (headers["x-amz-delete-marker"], headers["x-amz-version-id"]) == ("true", marker)
    with pytest.raises(ClientError, match="MethodNotAllowed") as refused:
        s3.get_object(**place, VersionId=marker)
    assert refused.value.response["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"] == "true"
    assert s3.get_object(**place, VersionId=first)["Body"].read() == b"1"
    with pytest.raises(s3.exceptions.NoSuchKey) as never:
        s3.get_object(Bucket="markers", Key="never")
    assert "x-amz-delete-marker" not in never.value.response["ResponseMetadata"]["HTTPHeaders"]
