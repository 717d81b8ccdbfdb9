"""Each service's resources through the real engine: made, kept, changed, replaced, drifted, imported, removed."""

from collections.abc import Callable
from typing import Any

MakeProgram = Callable[..., Any]

STORAGE = """
key = aws.kms.Key("key", description={description!r}, enable_key_rotation=True, deletion_window_in_days=7, opts=own)
alias = aws.kms.Alias("alias", name="alias/models", target_key_id=key.key_id, opts=own)
store = aws.s3.Bucket("store", force_destroy=True, tags={{"purpose": {purpose!r}}}, opts=own)
aws.s3.BucketVersioning("versions", bucket=store.id, versioning_configuration={{"status": "Enabled"}}, opts=own)
aws.s3.BucketPublicAccessBlock(
    "private",
    bucket=store.id,
    block_public_acls=True,
    block_public_policy=True,
    ignore_public_acls=True,
    restrict_public_buckets={restrict},
    opts=own,
)
aws.s3.BucketServerSideEncryptionConfiguration(
    "encrypted",
    bucket=store.id,
    rules=[{{
        "apply_server_side_encryption_by_default": {{"sse_algorithm": "aws:kms", "kms_master_key_id": key.arn}},
        "bucket_key_enabled": True,
    }}],
    opts=own,
)
aws.s3.BucketLifecycleConfiguration(
    "old",
    bucket=store.id,
    rules=[{{
        "id": "old",
        "status": "Enabled",
        "noncurrent_version_expiration": {{"noncurrent_days": {days}}},
        "abort_incomplete_multipart_upload": {{"days_after_initiation": 7}},
    }}],
    opts=own,
)
aws.s3.BucketOwnershipControls("owned", bucket=store.id, rule={{"object_ownership": "BucketOwnerEnforced"}}, opts=own)
aws.s3.BucketPolicy(
    "tls",
    bucket=store.id,
    policy=store.arn.apply(lambda arn: json.dumps({{
        "Version": "2012-10-17",
        "Statement": [{{
            "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, arn + "/*"],
            "Condition": {{"Bool": {{"aws:SecureTransport": "false"}}}},
        }}],
    }})),
    opts=own,
)
pulumi.export("bucket", store.id)
"""
FIRST = {"description": "models", "purpose": "models", "restrict": "True", "days": 30}


def test_storage(make_program: MakeProgram) -> None:
    program = make_program()
    program.up(STORAGE.format(**FIRST))
    assert program.changes() == {}
    made = program.resources()
    assert made["store"]["outputs"]["tagsAll"] == {"purpose": "models", "team": "models"}
    changed = FIRST | {"description": "all models", "purpose": "all models", "restrict": "False", "days": 60}
    expected = dict.fromkeys(("key", "store", "private", "old"), "update")
    assert program.changes(STORAGE.format(**changed)) == expected
    program.up()
    assert program.changes() == {}
    bucket = made["store"]["id"]
    program.client("s3").delete_bucket_policy(Bucket=bucket)
    program.client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    program.pulumi("refresh", "--yes", "--skip-preview")
    assert program.changes() == {"tls": "create", "versions": "update"}
    program.up()
    assert program.changes() == {}
    program.pulumi("destroy", "--yes", "--skip-preview")
    assert program.resources() == {}
    assert bucket not in {b["Name"] for b in program.client("s3").list_buckets()["Buckets"]}
