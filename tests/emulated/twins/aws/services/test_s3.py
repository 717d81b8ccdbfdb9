"""Buckets begin as AWS makes them, settings come back whole, a TLS-only policy locks nobody out."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.emulated.twins.aws.conftest import Running
from tests.support.serving import until

BUCKET = "settings-of-tests"


@pytest.fixture(scope="module")
def s3(twin: Running) -> Any:
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


def test_versions_of_an_object_in_parts_are_listed_when_its_parts_are_gone(twin: Running, s3: Any) -> None:
    """Parts that were written to the disk are removed from there when the object is complete."""
    place = {"Bucket": BUCKET, "Key": "large"}
    bodies = twin.home / "objects"
    upload = s3.create_multipart_upload(**place)["UploadId"]
    content = [b"a" * 5_242_880, b"b"]
    parts = [s3.upload_part(**place, UploadId=upload, PartNumber=i, Body=b) for i, b in enumerate(content, start=1)]

    def sizes() -> set[int]:
        return {path.stat().st_size for path in bodies.glob("*")}

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


def test_encryption_is_never_off_and_its_key_must_work(twin: Running, s3: Any) -> None:
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
def test_name_that_can_not_be_is_refused(twin: Running, name: str) -> None:
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
