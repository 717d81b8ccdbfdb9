"""Removes the resources that bootstrap created for a removed project: the state bucket, and the key of its secrets."""

from typing import Any

from llmops_kit.cli.platforms.aws.bootstrap.names import AwsNames
from llmops_kit.cli.platforms.aws.bootstrap.steps import TAGS
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.removal import delete_versions, tag_map
from llmops_kit.clouds.aws.errors import explained, find
from llmops_kit.core.errors import KitError

_WAIT_DAYS = 7  # KMS's minimum


def remove(clients: AwsClients, project: str) -> None:
    """Removes bucket and key; resumes when repeated.

    Raises:
        KitError: a bucket of this name is not bootstrap's; or AWS refuses.
    """
    caller = clients.caller
    names = AwsNames(project, caller.account, caller.region)
    with explained("bootstrap's resources", "repeat the command: it resumes"):
        _remove_bucket(clients("s3"), names.bucket)
        _remove_key(clients("kms"), names.alias)


def _remove_bucket(s3: Any, bucket: str) -> None:
    if find(s3.head_bucket, Bucket=bucket) is None:
        return
    tags = tag_map((find(s3.get_bucket_tagging, Bucket=bucket) or {}).get("TagSet", []))
    if not TAGS.items() <= tags.items():
        raise KitError("the bucket was not created by bootstrap", where=f"s3://{bucket}", fix="remove it yourself")
    delete_versions(s3, bucket)
    s3.delete_bucket(Bucket=bucket)


def _remove_key(kms: Any, alias: str) -> None:
    answer = find(kms.describe_key, KeyId=alias)
    if answer is None:
        return
    key = answer["KeyMetadata"]
    if key["KeyState"] != "PendingDeletion":
        kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=_WAIT_DAYS)
    kms.delete_alias(AliasName=alias)  # last: a repeated call finds the key by it
