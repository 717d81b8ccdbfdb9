"""Remove what bootstrap made for a project that is gone: the bucket of states, and the key of their secrets."""

from typing import Any

from botocore.exceptions import ClientError

from contract.errors import KitError
from llmops.platforms.aws.bootstrap.bootstrap import TAGS, Names
from llmops.platforms.aws.clients import Clients, error_code, explained
from llmops.platforms.aws.removal import delete_versions

_WAIT_DAYS = 7  # the fewest that KMS takes


def remove(clients: Clients, project: str) -> None:
    """Remove bucket and key; repeated, it goes on where it stopped.

    Raises:
        KitError: a bucket of this name is not bootstrap's; or AWS refuses.
    """
    caller = clients.caller
    names = Names(project, caller.account, caller.region)
    with explained("what bootstrap made", "repeat the command: it goes on from there"):
        _remove_bucket(clients("s3"), names.bucket)
        _remove_key(clients("kms"), names.alias)


def _remove_bucket(s3: Any, bucket: str) -> None:
    try:
        tags = {t["Key"]: t["Value"] for t in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]}
    except ClientError as e:
        if error_code(e) == "NoSuchBucket":
            return
        raise
    if not TAGS.items() <= tags.items():
        raise KitError("the bucket was not made by bootstrap", where=f"s3://{bucket}", fix="remove it yourself")
    delete_versions(s3, bucket)
    s3.delete_bucket(Bucket=bucket)


def _remove_key(kms: Any, alias: str) -> None:
    try:
        key = kms.describe_key(KeyId=alias)["KeyMetadata"]
    except ClientError as e:
        if error_code(e) == "NotFoundException":
            return
        raise
    if key["KeyState"] != "PendingDeletion":
        kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=_WAIT_DAYS)
    kms.delete_alias(AliasName=alias)  # last: it is how the key is found
