"""What bootstrap made goes with its project; what somebody else made under its name stays."""

import pytest

from llmops_kit.cli.platforms.aws.bootstrap.bootstrap import bootstrap
from llmops_kit.cli.platforms.aws.bootstrap.removal import remove
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.core.errors import KitError


def test_bucket_and_key_go_with_every_state_and_nothing_else(clients: AwsClients) -> None:
    other = bootstrap(clients, "other", lambda _: None).names
    names = bootstrap(clients, "gone", lambda _: None).names
    clients("s3").delete_bucket_policy(Bucket=names.bucket)  # whose conditions moto does not read
    for body in (b"1", b"2"):
        clients("s3").put_object(Bucket=names.bucket, Key=".pulumi/stacks/dev.json", Body=body)
    clients("s3").delete_object(Bucket=names.bucket, Key=".pulumi/stacks/dev.json")
    key = clients("kms").describe_key(KeyId=names.alias)["KeyMetadata"]["KeyId"]
    remove(clients, "gone")
    assert [b["Name"] for b in clients("s3").list_buckets()["Buckets"]] == [other.bucket]
    assert clients("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    aliases = {a["AliasName"] for a in clients("kms").list_aliases()["Aliases"]}
    assert other.alias in aliases
    assert names.alias not in aliases
    remove(clients, "gone")


def test_more_versions_than_a_page_has_go(clients: AwsClients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")  # AWS's page has 1000
    names = bootstrap(clients, "gone", lambda _: None).names
    s3 = clients("s3")
    s3.delete_bucket_policy(Bucket=names.bucket)
    for number in range(25):
        s3.put_object(Bucket=names.bucket, Key=f".pulumi/history/{number // 3}.json", Body=b"1")
    remove(clients, "gone")
    assert s3.list_buckets()["Buckets"] == []


def test_a_bucket_of_somebody_else_stays(clients: AwsClients) -> None:
    names = bootstrap(clients, "gone", lambda _: None).names
    clients("s3").put_bucket_tagging(Bucket=names.bucket, Tagging={"TagSet": [{"Key": "team", "Value": "payroll"}]})
    with pytest.raises(KitError, match="was not created by bootstrap"):
        remove(clients, "gone")
    assert clients("s3").list_buckets()["Buckets"]


def test_a_bucket_without_tags_is_somebody_elses(clients: AwsClients) -> None:
    names = bootstrap(clients, "gone", lambda _: None).names
    clients("s3").delete_bucket_tagging(Bucket=names.bucket)
    with pytest.raises(KitError, match="was not created by bootstrap"):
        remove(clients, "gone")
    assert clients("s3").list_buckets()["Buckets"]
