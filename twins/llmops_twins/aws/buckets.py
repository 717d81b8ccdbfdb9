"""Finds the owner of a bucket: names are unique in a partition, so a bucket may belong to another account.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html (a refusal is AccessDenied, with 403)
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html (aws:ResourceAccount)
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic-cross-account.html
"""

import json
from typing import Any

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.twin import AccountTwin

STRANGER = "999999999999"
_PARTITION = "aws"


def install(twin: AccountTwin) -> None:
    """Registers the check of the expected owner with all operations of S3 that take one."""
    from botocore.session import Session

    model: Any = Session().get_service_model("s3")
    for operation in model.operation_names:
        shape = model.operation_model(operation).input_shape
        if shape is not None and "ExpectedBucketOwner" in shape.members:
            twin.before("s3", operation, lambda call: refuse_other_owner(twin, call))


def bucket_named(twin: AccountTwin, name: str) -> Any | None:
    """Returns moto's bucket, whoever owns it; None if there is none."""
    from moto.s3.models import s3_backends

    return s3_backends[owner_of(twin, name)][_PARTITION].buckets.get(name)


def owner_of(twin: AccountTwin, name: str) -> str:
    """Returns the account that owns the bucket of that name; of one that does not exist, the twin's own."""
    from moto.s3.models import s3_backends

    for account, backends in list(s3_backends.items()):
        if account != twin.account and any(name in backend.buckets for backend in list(backends.values())):
            # moto finds other accounts' buckets by this mapping, which is not part of a twin's saved state.
            s3_backends.bucket_accounts.setdefault(name, (_PARTITION, account))
            return str(account)
    return twin.account


def refuse_other_owner(twin: AccountTwin, call: ApiCall) -> None:
    """Refuses a call that expects another owner of its bucket, or of the bucket that it copies from."""
    given = call.parameters
    named = {given.get("Bucket", ""): given.get("ExpectedBucketOwner")}
    if source := given.get("CopySource"):
        path = source["Bucket"] if isinstance(source, dict) else str(source).lstrip("/").partition("/")[0]
        named[path] = given.get("ExpectedSourceBucketOwner") or named.get(path)
    for bucket, expected in named.items():
        if expected and bucket_named(twin, bucket) is not None and owner_of(twin, bucket) != expected:
            raise AwsApiError("AccessDenied", "Access Denied", 403)


def make_strangers(twin: AccountTwin, name: str, account: str = STRANGER) -> None:
    """Creates a bucket of another account with access for everybody, as a target for stolen data."""
    from moto.s3.models import s3_backends

    bucket = f"arn:{_PARTITION}:s3:::{name}"
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": [bucket, f"{bucket}/*"]}
    backend = s3_backends[account][_PARTITION]
    backend.create_bucket(name, twin.region)
    backend.put_bucket_policy(name, json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode())
    twin.changed()
