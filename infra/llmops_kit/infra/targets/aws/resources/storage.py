"""Storage: the encryption key, the bucket of versions, which outlives the stack, and the bucket of runs."""

import json
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import kms, s3

from llmops_kit.clouds.aws import policies
from llmops_kit.clouds.aws.names import AUDIT_LOGS, CLOUDTRAIL
from llmops_kit.clouds.aws.settings import AwsSettings
from llmops_kit.infra.signing_keys import numbered
from llmops_kit.infra.targets.aws.resources.context import AwsContext

_NONCURRENT_DAYS = 30
_ADMINISTER = (
    "kms: CancelKeyDeletion CreateAlias CreateGrant Decrypt DeleteAlias DescribeKey DisableKey EnableKey"
    " EnableKeyRotation Encrypt GenerateDataKey* GetKeyPolicy GetKeyRotationStatus ListAliases ListGrants"
    " ListKeyPolicies ListResourceTags PutKeyPolicy ReEncrypt* RetireGrant RevokeGrant ScheduleKeyDeletion"
    " TagResource UntagResource UpdateAlias UpdateKeyDescription"
)
_USE = "kms: Decrypt DescribeKey Encrypt GenerateDataKey* ReEncrypt*"


@dataclass(frozen=True)
class DeclaredBucket:
    """A bucket, and the resources that must exist before it is used."""

    name: pulumi.Input[str]
    arn: pulumi.Input[str]
    ready: list[pulumi.Resource]


@dataclass(frozen=True)
class AwsStorage:
    """The stack's data."""

    key_arn: pulumi.Input[str]
    store: DeclaredBucket
    work: DeclaredBucket


def declare_storage(stack: AwsContext, given: AwsSettings) -> AwsStorage:
    """Declare the key and both buckets, unless existing ones are given."""
    flow_logs = given.network.mode == "own"
    key = given.kms_key_arn or _data_key(stack, flow_logs, given.audit)
    return AwsStorage(
        key,
        store=_given(stack, given.store_bucket) or _store(stack, key),
        work=_given(stack, given.work_bucket) or _work(stack, key, given.runs_days, flow_logs),
    )


def declare_key(
    stack: AwsContext, name: str, purpose: str, statements: list[policies.Statement], *, number: int = 1, **kind: Any
) -> kms.Key:
    """Declare a key that outlives the stack, and its alias.

    Args:
        stack: that the key belongs to.
        name: of the key.
        purpose: how its description begins.
        statements: of its policy.
        number: from 1, of a name's keys.
        kind: further arguments of the resource.
    """
    base, name = name, numbered(name, number)
    # The description tells a stack's keys apart, as no key has a name: see infra.targets.aws.leftovers.named.
    others = "" if stack.names.logical(name) == base else f": {stack.names.logical(name)}"
    key = kms.Key(
        stack.names.kept(f"{name}-key"),
        description=f"{purpose} of {stack.project}, stack {stack.name}{others}",
        deletion_window_in_days=30,
        policy=json.dumps(policies.document(statements)),
        **kind,
        opts=stack.options(protect=True),
    )
    kms.Alias(
        stack.names.kept(f"{name}-key-alias"),
        name=f"alias/{stack.names.of(name)}",
        target_key_id=key.key_id,
        opts=stack.options(protect=True),
    )
    return key


def declare_audit_bucket(stack: AwsContext, key: pulumi.Input[str], days: int) -> DeclaredBucket:
    """Declare the bucket of the trail's files, which nobody can delete or change for `days`: not even the account's
    root user can, until then. Only the trail writes there.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html#object-lock-retention-modes
    """
    name = stack.names.bucket("audit", stack.account, stack.region)
    arn, service = stack.bucket_arn(name), {"Service": CLOUDTRAIL}
    ours = {"aws:SourceArn": trail_arn(stack)}
    whole = {**ours, "s3:x-amz-acl": "bucket-owner-full-control"}
    # https://docs.aws.amazon.com/awscloudtrail/latest/userguide/create-s3-bucket-policy-for-cloudtrail.html
    statements = [
        policies.grant(service, ["s3:GetBucketAcl"], arn, StringEquals=ours),
        policies.grant(service, ["s3:PutObject"], f"{arn}/AWSLogs/{stack.account}/*", StringEquals=whole),
    ]
    rules = [_LEFTOVERS, _expiring("AWSLogs", days)]
    return _bucket(stack, "audit", name, key, rules, statements, protect=True, locked_days=days)


def trail_arn(stack: AwsContext) -> str:
    """Returns the ARN of the stack's trail."""
    return stack.arn("cloudtrail", f"trail/{stack.names.of('audit')}")


def _data_key(stack: AwsContext, flow_logs: bool, audit: bool) -> pulumi.Output[str]:
    statements = [*_key_statements(stack, flow_logs), *(_audit_statements(stack) if audit else ())]
    return declare_key(stack, "data", "Data", statements, enable_key_rotation=True).arn


def _key_statements(stack: AwsContext, flow_logs: bool) -> list[policies.Statement]:
    """Returns the key's policy: the account administers it, IAM decides on use, services use it for the account.

    https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
    """
    ours = {"StringEquals": {"aws:SourceAccount": stack.account}}
    groups = stack.arn("logs", "log-group:/aws/sagemaker/*")
    statements = [
        policies.grant({"AWS": stack.arn("iam", "root", region=False)}, [_ADMINISTER], "*"),
        policies.grant(
            {"Service": f"logs.{stack.region}.amazonaws.com"},
            [_USE],
            "*",
            ArnLike={"kms:EncryptionContext:aws:logs:arn": groups},
        ),
        policies.grant(
            {"Service": ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"]},
            ["kms: Decrypt GenerateDataKey*"],
            "*",
            **ours,
        ),
    ]
    if flow_logs:
        statements.append(policies.grant({"Service": "delivery.logs.amazonaws.com"}, [_USE], "*", **ours))
    return statements


def _audit_statements(stack: AwsContext) -> list[policies.Statement]:
    """Returns the statements by which the trail and its log group use the key.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/create-kms-key-policy-for-cloudtrail.html
    """
    service, ours = {"Service": CLOUDTRAIL}, {"StringEquals": {"aws:SourceArn": trail_arn(stack)}}
    group = stack.arn("logs", f"log-group:{AUDIT_LOGS}/{stack.names.of('audit')}")
    logs = {"Service": f"logs.{stack.region}.amazonaws.com"}
    return [
        policies.grant(service, ["kms: Decrypt DescribeKey GenerateDataKey*"], "*", **ours),
        policies.grant(logs, [_USE], "*", ArnEquals={"kms:EncryptionContext:aws:logs:arn": group}),
    ]


def _given(stack: AwsContext, name: str) -> DeclaredBucket | None:
    return DeclaredBucket(name, stack.bucket_arn(name), []) if name else None


def _store(stack: AwsContext, key: pulumi.Input[str]) -> DeclaredBucket:
    name = stack.names.bucket("store", stack.account, stack.region)
    return _bucket(stack, "store", name, key, [_LEFTOVERS], [], protect=True)  # versions themselves never expire


def _work(stack: AwsContext, key: pulumi.Input[str], days: int, flow_logs: bool) -> DeclaredBucket:
    name = stack.names.bucket("work", stack.account, stack.region)
    rules = [_LEFTOVERS, *(_expiring(prefix, days) for prefix in ("runs", "captures", "async", "AWSLogs"))]
    statements = _flow_log_statements(stack, name) if flow_logs else []
    return _bucket(stack, "work", name, key, rules, statements, protect=False)


def _bucket(
    stack: AwsContext,
    base: str,
    name: str,
    key: pulumi.Input[str],
    rules: list[s3.BucketLifecycleConfigurationRuleArgsDict],
    statements: list[policies.Statement],
    *,
    protect: bool,
    locked_days: int = 0,
) -> DeclaredBucket:
    """Declares a private, versioned, encrypted bucket.

    With `protect`, its settings are kept with it: a store without its policy would be open to plain HTTP. With
    `locked_days`, no object can be deleted or changed for so long.
    """
    arn, logical = stack.bucket_arn(name), stack.names.kept if protect else stack.names.logical
    policy = pulumi.Output.json_dumps(policies.document([policies.tls_only("s3:*", [arn, f"{arn}/*"]), *statements]))

    def part(kind: str, *after: pulumi.Resource) -> dict[str, Any]:
        title = logical(f"{base}-{kind}")
        options = stack.options(protect=protect or None, depends_on=list(after))
        return {"resource_name": title, "bucket": bucket.bucket, "opts": options}

    bucket = s3.Bucket(
        logical(base),
        bucket=name,
        force_destroy=not protect,
        object_lock_enabled=True if locked_days else None,
        opts=stack.options(protect=protect or None),
    )
    access = s3.BucketPublicAccessBlock(
        **part("access"),
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
    )
    versioning = s3.BucketVersioning(**part("versioning"), versioning_configuration={"status": "Enabled"})
    others = [  # S3 refuses two changes of a bucket's access at once
        s3.BucketOwnershipControls(**part("ownership", access), rule={"object_ownership": "BucketOwnerEnforced"}),
        s3.BucketPolicy(**part("policy", access), policy=policy),
        s3.BucketServerSideEncryptionConfiguration(**part("encryption"), rules=[_encryption(key)]),
        s3.BucketLifecycleConfiguration(**part("lifecycle", versioning), rules=rules),
    ]
    if locked_days:
        retention: Any = {"default_retention": {"mode": "COMPLIANCE", "days": locked_days}}
        others.append(s3.BucketObjectLockConfiguration(**part("lock", versioning), rule=retention))
    return DeclaredBucket(bucket.bucket, arn, [bucket, access, versioning, *others])


def _encryption(key: pulumi.Input[str]) -> s3.BucketServerSideEncryptionConfigurationRuleArgsDict:
    return {
        "apply_server_side_encryption_by_default": {"sse_algorithm": "aws:kms", "kms_master_key_id": key},
        "bucket_key_enabled": True,  # one call of KMS for many objects
    }


_LEFTOVERS: s3.BucketLifecycleConfigurationRuleArgsDict = {
    "id": "leftovers",
    "status": "Enabled",
    "filter": {"prefix": ""},
    "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
    "noncurrent_version_expiration": {"noncurrent_days": _NONCURRENT_DAYS},
}


def _expiring(prefix: str, days: int) -> s3.BucketLifecycleConfigurationRuleArgsDict:
    return {
        "id": prefix,
        "status": "Enabled",
        "filter": {"prefix": f"{prefix}/"},
        "expiration": {"days": days},
    }


def _flow_log_statements(stack: AwsContext, bucket: str) -> list[policies.Statement]:
    """Returns the statements by which flow logs are delivered:
    https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-permissions.html
    """
    arn = stack.bucket_arn(bucket)
    service = {"Service": "delivery.logs.amazonaws.com"}
    ours = {
        "StringEquals": {"aws:SourceAccount": stack.account},
        "ArnLike": {"aws:SourceArn": stack.arn("logs", "*")},
    }
    return [
        policies.grant(service, ["s3:PutObject"], f"{arn}/AWSLogs/{stack.account}/*", **ours),
        policies.grant(service, ["s3:GetBucketAcl", "s3:ListBucket"], arn, **ours),
    ]
