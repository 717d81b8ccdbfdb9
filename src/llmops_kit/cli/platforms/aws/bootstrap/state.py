"""The state bucket and the key of secrets, step by step. Each step reads the present state first, and changes only what
differs.
"""

import json
from typing import Any

from botocore.exceptions import ClientError

from llmops_kit.cli.platforms.aws.bootstrap.steps import AwsSteps, tags
from llmops_kit.clouds.aws.errors import error_code, find
from llmops_kit.core.errors import KitError

_SID = "DenyPlainHttp"
_PUBLIC = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
_LIFECYCLE = {
    "Rules": [
        {
            "ID": "llmops-state",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 365, "NewerNoncurrentVersions": 50},
        }
    ]
}


def state_key(work: AwsSteps) -> str:
    """Creates the key of the state and its secrets if missing; returns its ARN, empty if a dry run finds none.

    Raises:
        KitError: the alias leads to a key that can't be used.
    """
    kms, alias = work.clients("kms"), work.names.alias
    what = f"KMS key {alias}"
    answer = find(kms.describe_key, KeyId=alias)
    if answer is None:
        made: list[str] = []
        work.make(what, lambda: made.append(_make_key(kms, alias)))
        return made[0] if made else ""
    found = answer["KeyMetadata"]
    if found["KeyState"] != "Enabled":
        raise KitError(
            f"the key is {found['KeyState']}: states that it protects can't be read",
            where=f"{alias}, {found['Arn']}",
            fix=f"`aws kms cancel-key-deletion --key-id {found['KeyId']}` and `aws kms enable-key`, then repeat",
        )
    if kms.get_key_rotation_status(KeyId=found["KeyId"])["KeyRotationEnabled"]:
        work.there(what)
    else:
        work.change(what, "rotation off -> on", lambda: kms.enable_key_rotation(KeyId=found["KeyId"]))
    return found["Arn"]


def _make_key(kms: Any, alias: str) -> str:
    key = kms.create_key(
        Description="State of llmops stacks and their secrets",
        Tags=[{"TagKey": t["Key"], "TagValue": t["Value"]} for t in tags()],
    )["KeyMetadata"]
    kms.enable_key_rotation(KeyId=key["KeyId"])
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])  # last: the alias marks the key as complete
    return key["Arn"]


def state_bucket(work: AwsSteps, key: str) -> None:
    """Creates or repairs the bucket of the state: versioned, encrypted, private, TLS only.

    Raises:
        KitError: the bucket is another account's, or in another region.
    """
    s3, bucket = work.clients("s3"), work.names.bucket
    what = f"bucket {bucket}"
    before = len(work.rows)
    new = not _exists(s3, bucket, work)
    if new:
        work.make(what, lambda: _make_bucket(s3, bucket, work.names.region))
        if work.dry_run:
            work.rows[-1]["state"] += ": versioned, encrypted, private, TLS only"
            return
    else:
        work.there(what)
    _versioning(work, s3, bucket)
    _encryption(work, s3, bucket, key)
    _privacy(work, s3, bucket)
    _tls(work, s3, bucket)
    _lifecycle(work, s3, bucket)
    if new:  # its parts are not listed as changes
        del work.rows[before + 1 :]


def _lifecycle(work: AwsSteps, s3: Any, bucket: str) -> None:
    if find(s3.get_bucket_lifecycle_configuration, Bucket=bucket) is None:
        work.make(
            f"bucket {bucket}: old states go after a year, but for the last 50",
            lambda: s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=_LIFECYCLE),
        )


def _exists(s3: Any, bucket: str, work: AwsSteps) -> bool:
    try:
        if find(s3.head_bucket, Bucket=bucket, ExpectedBucketOwner=work.names.account) is None:
            return False
    except ClientError as e:
        if error_code(e) in ("403", "AccessDenied"):
            raise KitError(
                "the bucket belongs to another account, or you may not access it",
                where=f"s3://{bucket}",
                fix="use credentials of an administrator of the intended account",
            ) from e
        raise
    region = s3.get_bucket_location(Bucket=bucket).get("LocationConstraint") or "us-east-1"
    if region != work.names.region:
        raise KitError(
            f"the bucket is in {region}", where=f"s3://{bucket}", fix=f"repeat the command with AWS_REGION={region}"
        )
    return True


def _make_bucket(s3: Any, bucket: str, region: str) -> None:
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    s3.create_bucket(Bucket=bucket, ObjectOwnership="BucketOwnerEnforced", **place)
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags()})


def _versioning(work: AwsSteps, s3: Any, bucket: str) -> None:
    status = s3.get_bucket_versioning(Bucket=bucket).get("Status", "off")
    if status != "Enabled":
        work.change(
            f"bucket {bucket}: versions",
            f"{status} -> Enabled",
            lambda: s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}),
        )


def _encryption(work: AwsSteps, s3: Any, bucket: str, key: str) -> None:
    what = f"bucket {bucket}: encryption"
    found = find(s3.get_bucket_encryption, Bucket=bucket) or {}
    rule = (
        found.get("ServerSideEncryptionConfiguration", {})
        .get("Rules", [{}])[0]
        .get("ApplyServerSideEncryptionByDefault", {})
    )
    if rule.get("SSEAlgorithm", "").startswith("aws:kms"):
        if rule.get("KMSMasterKeyID") not in (key, key.rpartition("/")[2]):
            work.keep(what, f"by another key, {rule.get('KMSMasterKeyID', 'the account default')}")
        return
    encryption = {
        "Rules": [
            {
                "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key},
                "BucketKeyEnabled": True,
            }
        ]
    }
    work.change(
        what,
        f"{rule.get('SSEAlgorithm', 'none')} -> aws:kms",
        lambda: s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption),
    )


def _privacy(work: AwsSteps, s3: Any, bucket: str) -> None:
    found = (find(s3.get_public_access_block, Bucket=bucket) or {}).get("PublicAccessBlockConfiguration", {})
    if off := [name for name in _PUBLIC if not found.get(name)]:
        work.change(
            f"bucket {bucket}: public access",
            f"{', '.join(off)} off -> on",
            lambda: s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=_PUBLIC),
        )


def _tls(work: AwsSteps, s3: Any, bucket: str) -> None:
    """Adds the kit's statement to the bucket's policy, and keeps others' statements."""
    answer = find(s3.get_bucket_policy, Bucket=bucket)
    policy = json.loads(answer["Policy"]) if answer else {"Version": "2012-10-17", "Statement": []}
    arn = f"arn:{work.names.partition}:s3:::{bucket}"
    wanted = {
        "Sid": _SID,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    others = [s for s in policy["Statement"] if s.get("Sid") != _SID]
    if wanted in policy["Statement"]:
        return
    policy["Statement"] = [*others, wanted]
    work.change(
        f"bucket {bucket}: TLS only",
        "not asked for -> asked for",
        lambda: s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy)),
    )
