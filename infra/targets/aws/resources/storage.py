"""Where data is: the key that encrypts it, the store of versions, which outlives the stack, and the bucket of runs."""

import json
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import kms, s3

from infra import names
from infra.targets.aws.resources import policies
from infra.targets.aws.resources.stack import Here
from infra.targets.aws.session import Place, client, error_code, explained

DATA_KEY = names.kept("data-key")
_NONCURRENT_DAYS = 30


@dataclass(frozen=True)
class Bucket:
    """A bucket, and what must be there before it is used."""

    name: pulumi.Input[str]
    arn: pulumi.Input[str]
    ready: list[pulumi.Resource]


@dataclass(frozen=True)
class Storage:
    """The stack's data."""

    key_arn: pulumi.Input[str]
    store: Bucket
    work: Bucket


def provide_storage(here: Here) -> Storage:
    """Declare the key and both buckets, but for those that are given."""
    given = here.settings.aws
    key = given.kms_key_arn or _key(here).arn
    return Storage(key, store=_store(here, key), work=_work(here, key))


def store_name(here_names: names.CloudNames, place: Place, given: str) -> str:
    """The store's bucket, which the program reads before it is declared."""
    return given or here_names.bucket("store", place.account, place.region)


def work_name(here_names: names.CloudNames, place: Place, given: str) -> str:
    """The bucket of runs."""
    return given or here_names.bucket("work", place.account, place.region)


def read_object(place: Place, bucket: str, key: str) -> bytes | None:
    """Content of an object; None when it, or its bucket, is not there (yet)."""
    from botocore.exceptions import ClientError

    with explained(f"s3://{bucket}/{key}"):
        try:
            return client("s3", place).get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as e:
            if error_code(e) in ("NoSuchKey", "NoSuchBucket", "404"):
                return None
            raise


def _key(here: Here) -> kms.Key:
    key = kms.Key(
        DATA_KEY,
        description=f"Data of {here.project}, stack {here.stack}",
        enable_key_rotation=True,
        deletion_window_in_days=30,
        policy=json.dumps({"Version": "2012-10-17", "Statement": _key_statements(here)}),
        opts=here.options(protect=True),
    )
    kms.Alias(
        names.kept("data-key-alias"),
        name=f"alias/{here.names.of('data')}",
        target_key_id=key.key_id,
        opts=here.options(protect=True),
    )
    return key


def _key_statements(here: Here) -> list[policies.Statement]:
    """The account administers the key and lets its own IAM policies decide on use; services use it for us alone.

    https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
    """
    ours = {"StringEquals": {"aws:SourceAccount": here.account}}
    groups = here.arn("logs", "log-group:/aws/sagemaker/*")
    statements = [
        policies.grant({"AWS": here.arn("iam", "root", region=False)}, [f"kms:{a}" for a in _KEY_ACTIONS], "*"),
        policies.grant(
            {"Service": f"logs.{here.region}.amazonaws.com"},
            ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"],
            "*",
            ArnLike={"kms:EncryptionContext:aws:logs:arn": groups},
        ),
        policies.grant(
            {"Service": ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"]},
            ["kms:Decrypt", "kms:GenerateDataKey*"],
            "*",
            **ours,
        ),
    ]
    if here.settings.aws.network.mode == "own":
        flow = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        statements.append(policies.grant({"Service": "delivery.logs.amazonaws.com"}, flow, "*", **ours))
    return statements


_KEY_ACTIONS = (
    "CancelKeyDeletion",
    "CreateAlias",
    "CreateGrant",
    "Decrypt",
    "DeleteAlias",
    "DescribeKey",
    "DisableKey",
    "EnableKey",
    "EnableKeyRotation",
    "Encrypt",
    "GenerateDataKey*",
    "GetKeyPolicy",
    "GetKeyRotationStatus",
    "ListAliases",
    "ListGrants",
    "ListKeyPolicies",
    "ListResourceTags",
    "PutKeyPolicy",
    "ReEncrypt*",
    "RetireGrant",
    "RevokeGrant",
    "ScheduleKeyDeletion",
    "TagResource",
    "UntagResource",
    "UpdateAlias",
    "UpdateKeyDescription",
)


def _store(here: Here, key: pulumi.Input[str]) -> Bucket:
    if given := here.settings.aws.store_bucket:
        return _given(here, given)
    name = store_name(here.names, here.place, "")
    rules = [_without_leftovers()]  # versions themselves never expire
    return _bucket(here, names.STORE, name, key, rules, [], protect=True)


def _work(here: Here, key: pulumi.Input[str]) -> Bucket:
    if given := here.settings.aws.work_bucket:
        return _given(here, given)
    name = work_name(here.names, here.place, "")
    days = here.settings.aws.runs_days
    rules = [_without_leftovers(), *(_expiring(prefix, days) for prefix in ("runs", "captures", "async", "AWSLogs"))]
    statements = _flow_log_statements(here, name) if here.settings.aws.network.mode == "own" else []
    return _bucket(here, "work", name, key, rules, statements, protect=False)


def _given(here: Here, name: str) -> Bucket:
    return Bucket(name, f"arn:{here.caller.partition}:s3:::{name}", [])


def _bucket(
    here: Here,
    logical: str,
    name: str,
    key: pulumi.Input[str],
    rules: list[s3.BucketLifecycleConfigurationRuleArgs],
    statements: list[policies.Statement],
    *,
    protect: bool,
) -> Bucket:
    """A private, versioned, encrypted bucket.

    With `protect`, its settings are kept with it: a store without its policy would be open to plain HTTP.
    """
    base = logical.partition(" ")[0]
    arn = f"arn:{here.caller.partition}:s3:::{name}"
    policy = policies.document([policies.tls_only("s3:*", [arn, f"{arn}/*"]), *statements])

    def part(kind: str, *after: pulumi.Resource) -> dict[str, Any]:
        title = names.kept(f"{base}-{kind}") if protect else f"{base}-{kind}"
        options = here.options(protect=protect or None, depends_on=list(after))
        return {"resource_name": title, "bucket": bucket.bucket, "opts": options}

    bucket = s3.Bucket(logical, bucket=name, force_destroy=not protect, opts=here.options(protect=protect or None))
    access = s3.BucketPublicAccessBlock(
        **part("access"),
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
    )
    enabled = s3.BucketVersioningVersioningConfigurationArgs(status="Enabled")
    versioning = s3.BucketVersioning(**part("versioning"), versioning_configuration=enabled)
    owner = s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced")
    others = [  # S3 refuses two changes of a bucket's access at once
        s3.BucketOwnershipControls(**part("ownership", access), rule=owner),
        s3.BucketPolicy(**part("policy", access), policy=policy),
        s3.BucketServerSideEncryptionConfiguration(**part("encryption"), rules=[_encryption(key)]),
        s3.BucketLifecycleConfiguration(**part("lifecycle", versioning), rules=rules),
    ]
    return Bucket(bucket.bucket, arn, [bucket, access, versioning, *others])


def _encryption(key: pulumi.Input[str]) -> s3.BucketServerSideEncryptionConfigurationRuleArgs:
    return s3.BucketServerSideEncryptionConfigurationRuleArgs(
        apply_server_side_encryption_by_default=(
            s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                sse_algorithm="aws:kms", kms_master_key_id=key
            )
        ),
        bucket_key_enabled=True,  # one call of KMS for many objects
    )


def _without_leftovers() -> s3.BucketLifecycleConfigurationRuleArgs:
    return s3.BucketLifecycleConfigurationRuleArgs(
        id="leftovers",
        status="Enabled",
        filter=s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
        abort_incomplete_multipart_upload=s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
            days_after_initiation=7
        ),
        noncurrent_version_expiration=s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
            noncurrent_days=_NONCURRENT_DAYS
        ),
    )


def _expiring(prefix: str, days: int) -> s3.BucketLifecycleConfigurationRuleArgs:
    return s3.BucketLifecycleConfigurationRuleArgs(
        id=prefix,
        status="Enabled",
        filter=s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=f"{prefix}/"),
        expiration=s3.BucketLifecycleConfigurationRuleExpirationArgs(days=days),
    )


def _flow_log_statements(here: Here, bucket: str) -> list[policies.Statement]:
    """https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-permissions.html"""
    arn = f"arn:{here.caller.partition}:s3:::{bucket}"
    service = {"Service": "delivery.logs.amazonaws.com"}
    ours = {
        "StringEquals": {"aws:SourceAccount": here.account},
        "ArnLike": {"aws:SourceArn": here.arn("logs", "*")},
    }
    return [
        policies.grant(service, ["s3:PutObject"], f"{arn}/AWSLogs/{here.account}/*", **ours),
        policies.grant(service, ["s3:GetBucketAcl", "s3:ListBucket"], arn, **ours),
    ]
