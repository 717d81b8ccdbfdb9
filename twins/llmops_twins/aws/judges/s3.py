"""S3, whose operations and actions have different names.

Source: "Required permissions for Amazon S3 API operations" in the Amazon S3 User Guide.
"""

from collections.abc import Iterator
from urllib.parse import unquote

from llmops_twins.aws.calls import ApiCall
from llmops_twins.aws.judges.access import JudgedAction
from llmops_twins.aws.judges.account import JudgedAccount
from llmops_twins.aws.judges.context import Context, context_of

_BUCKET = {
    "HeadBucket": "s3:ListBucket",
    "ListObjects": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "ListObjectVersions": "s3:ListBucketVersions",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "GetBucketAccelerateConfiguration": "s3:GetAccelerateConfiguration",
    "PutBucketAccelerateConfiguration": "s3:PutAccelerateConfiguration",
    "GetBucketAnalyticsConfiguration": "s3:GetAnalyticsConfiguration",
    "ListBucketAnalyticsConfigurations": "s3:GetAnalyticsConfiguration",
    "PutBucketAnalyticsConfiguration": "s3:PutAnalyticsConfiguration",
    "DeleteBucketAnalyticsConfiguration": "s3:PutAnalyticsConfiguration",
    "GetBucketCors": "s3:GetBucketCORS",
    "PutBucketCors": "s3:PutBucketCORS",
    "DeleteBucketCors": "s3:PutBucketCORS",
    "GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "DeleteBucketEncryption": "s3:PutEncryptionConfiguration",
    "GetBucketIntelligentTieringConfiguration": "s3:GetIntelligentTieringConfiguration",
    "ListBucketIntelligentTieringConfigurations": "s3:GetIntelligentTieringConfiguration",
    "PutBucketIntelligentTieringConfiguration": "s3:PutIntelligentTieringConfiguration",
    "DeleteBucketIntelligentTieringConfiguration": "s3:PutIntelligentTieringConfiguration",
    "GetBucketInventoryConfiguration": "s3:GetInventoryConfiguration",
    "ListBucketInventoryConfigurations": "s3:GetInventoryConfiguration",
    "PutBucketInventoryConfiguration": "s3:PutInventoryConfiguration",
    "DeleteBucketInventoryConfiguration": "s3:PutInventoryConfiguration",
    "GetBucketLifecycle": "s3:GetLifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "PutBucketLifecycle": "s3:PutLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "DeleteBucketLifecycle": "s3:PutLifecycleConfiguration",
    "GetBucketMetricsConfiguration": "s3:GetMetricsConfiguration",
    "ListBucketMetricsConfigurations": "s3:GetMetricsConfiguration",
    "PutBucketMetricsConfiguration": "s3:PutMetricsConfiguration",
    "DeleteBucketMetricsConfiguration": "s3:PutMetricsConfiguration",
    "GetBucketNotificationConfiguration": "s3:GetBucketNotification",
    "PutBucketNotificationConfiguration": "s3:PutBucketNotification",
    "GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "PutObjectLockConfiguration": "s3:PutBucketObjectLockConfiguration",
    "DeleteBucketOwnershipControls": "s3:PutBucketOwnershipControls",
    "GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "DeletePublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "GetBucketReplication": "s3:GetReplicationConfiguration",
    "PutBucketReplication": "s3:PutReplicationConfiguration",
    "DeleteBucketReplication": "s3:PutReplicationConfiguration",
    "DeleteBucketTagging": "s3:PutBucketTagging",
    "DeleteBucketWebsite": "s3:DeleteBucketWebsite",
}
_OBJECT = {
    "HeadObject": "s3:GetObject",
    "SelectObjectContent": "s3:GetObject",
    "GetObjectTorrent": "s3:GetObject",
    "CopyObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "UploadPartCopy": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "ListParts": "s3:ListMultipartUploadParts",
}
_VERSIONED = {
    "s3:GetObject": "s3:GetObjectVersion",
    "s3:DeleteObject": "s3:DeleteObjectVersion",
    "s3:GetObjectAcl": "s3:GetObjectVersionAcl",
    "s3:PutObjectAcl": "s3:PutObjectVersionAcl",
    "s3:GetObjectTagging": "s3:GetObjectVersionTagging",
    "s3:PutObjectTagging": "s3:PutObjectVersionTagging",
    "s3:DeleteObjectTagging": "s3:DeleteObjectVersionTagging",
    "s3:GetObjectAttributes": "s3:GetObjectVersionAttributes",
}
_WRITES = {
    "PutObject",
    "CopyObject",
    "CreateMultipartUpload",
    "UploadPart",
    "UploadPartCopy",
    "CompleteMultipartUpload",
}
_READS = {"GetObject", "SelectObjectContent", "GetObjectAttributes"}


def accesses_of(call: ApiCall, account: JudgedAccount) -> list[JudgedAction]:
    """Returns the accesses that S3 checks for a call, except those to the keys that encrypt its objects (see
    `keys_of`).
    """
    given = call.parameters
    context = context_of(call, "s3")
    if call.operation == "ListBuckets":
        return [JudgedAction("s3:ListAllMyBuckets", "*", context)]
    bucket = f"arn:{account.partition}:s3:::{given.get('Bucket', '*')}"
    if call.operation == "DeleteObjects":
        return [_delete(bucket, each, context) for each in given["Delete"]["Objects"]]
    if "Key" in given:
        return list(_of_object(call, account, bucket, context))
    return [
        JudgedAction(_BUCKET.get(call.operation, f"s3:{call.operation}"), bucket, context),
        *_on_making(call, bucket, context),
    ]


def _of_object(call: ApiCall, account: JudgedAccount, bucket: str, context: Context) -> Iterator[JudgedAction]:
    given = call.parameters
    action = _OBJECT.get(call.operation, f"s3:{call.operation}")
    if given.get("VersionId"):
        action = _VERSIONED.get(action, action)
    arn = f"{bucket}/{given['Key']}"
    yield JudgedAction(action, arn, context)
    if call.operation == "GetObjectAttributes":
        yield JudgedAction("s3:GetObjectVersion" if given.get("VersionId") else "s3:GetObject", arn, context)
    if call.operation in ("CopyObject", "UploadPartCopy"):
        source, version = copy_source(given["CopySource"])
        name = "s3:GetObjectVersion" if version else "s3:GetObject"
        yield JudgedAction(name, f"arn:{account.partition}:s3:::{source}", context)
    for parameter, extra in _EXTRAS.items():
        if given.get(parameter) and call.operation in _WRITES:
            yield JudgedAction(extra, arn, context)
    missing = account.bucket(given["Bucket"]) and not account.has_object(given["Bucket"], given["Key"])
    if action == "s3:GetObject" and missing:
        # Without permission to list, S3 answers AccessDenied for a missing object instead of NoSuchKey.
        yield JudgedAction("s3:ListBucket", bucket, {**context, "s3:prefix": given["Key"]})


_EXTRAS = {
    "Tagging": "s3:PutObjectTagging",
    "ACL": "s3:PutObjectAcl",
    "GrantRead": "s3:PutObjectAcl",
    "GrantFullControl": "s3:PutObjectAcl",
    "ObjectLockMode": "s3:PutObjectRetention",
    "ObjectLockLegalHoldStatus": "s3:PutObjectLegalHold",
}


def _delete(bucket: str, each: dict[str, str], context: Context) -> JudgedAction:
    name = "s3:DeleteObjectVersion" if each.get("VersionId") else "s3:DeleteObject"
    return JudgedAction(name, f"{bucket}/{each['Key']}", context)


def _on_making(call: ApiCall, bucket: str, context: Context) -> Iterator[JudgedAction]:
    if call.operation != "CreateBucket":
        return
    given = call.parameters
    if given.get("ObjectLockEnabledForBucket"):
        yield JudgedAction("s3:PutBucketObjectLockConfiguration", bucket, context)
        yield JudgedAction("s3:PutBucketVersioning", bucket, context)
    if given.get("ObjectOwnership"):
        yield JudgedAction("s3:PutBucketOwnershipControls", bucket, context)
    if given.get("ACL", "private") != "private":
        yield JudgedAction("s3:PutBucketAcl", bucket, context)
    if (given.get("CreateBucketConfiguration") or {}).get("Tags"):
        yield JudgedAction("s3:TagResource", bucket, context)


def copy_source(source: object) -> tuple[str, str]:
    """Returns a CopySource as (bucket/key, version id)."""
    if isinstance(source, dict):
        return f"{source['Bucket']}/{source['Key']}", source.get("VersionId", "")
    path, _, query = str(source).lstrip("/").partition("?versionId=")
    return unquote(path), query


def keys_of(call: ApiCall, account: JudgedAccount) -> Iterator[tuple[str, str, str]]:
    """Yields the KMS actions that S3 makes as the caller: (action, key's ARN, names in the encryption context).

    Source: "Using server-side encryption with AWS KMS keys" in the Amazon S3 User Guide: writing takes GenerateDataKey,
    and Decrypt too for an upload in parts; reading takes Decrypt. With a bucket key the context is the bucket's ARN.
    """
    given = call.parameters
    if "Key" not in given:
        return
    bucket, key = given["Bucket"], given["Key"]
    if call.operation in _READS and (arn := account.object_key(bucket, key, given.get("VersionId"))):
        yield "kms:Decrypt", arn, _encryption_context(account, bucket, key)
    if call.operation in _WRITES and (arn := _key_of_write(call, account)):
        named = _encryption_context(account, bucket, key)
        if call.operation != "CompleteMultipartUpload":
            yield "kms:GenerateDataKey", arn, named
        if call.operation not in ("PutObject", "CopyObject"):
            yield "kms:Decrypt", arn, named
    if call.operation in ("CopyObject", "UploadPartCopy"):
        path, version = copy_source(given["CopySource"])
        source, _, name = path.partition("/")
        if arn := account.object_key(source, name, version or None):
            yield "kms:Decrypt", arn, _encryption_context(account, source, name)


def _key_of_write(call: ApiCall, account: JudgedAccount) -> str:
    given = call.parameters
    asked = str(given.get("ServerSideEncryption", ""))
    if asked and not asked.startswith("aws:kms"):
        return ""
    if given.get("SSEKMSKeyId"):
        return account.key_arn(given["SSEKMSKeyId"], call.region)
    return account.bucket_key(given["Bucket"])[0]


def _encryption_context(account: JudgedAccount, bucket: str, key: str) -> str:
    base = f"arn:{account.partition}:s3:::{bucket}"
    return base if account.bucket_key(bucket)[1] else f"{base}/{key}"
