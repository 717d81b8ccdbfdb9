"""Where S3 itself copies from one store to another."""

from types import SimpleNamespace
from typing import Any

import pytest

from llmops_kit.cli.platforms.aws.objects_s3 import S3Objects

OWNER = {"ExpectedBucketOwner": "123456789012"}


def objects(owner: dict[str, str] = OWNER, profile: str = "") -> Any:
    made = object.__new__(S3Objects)
    vars(made).update(bucket=SimpleNamespace(owner=owner), _clients=SimpleNamespace(profile=profile))
    return made


@pytest.mark.parametrize(
    ("source", "copies"),
    [
        (objects(), True),
        (objects(profile="other"), False),
        (objects({"ExpectedBucketOwner": "210987654321"}), False),
        (SimpleNamespace(bucket=SimpleNamespace(owner=OWNER), _clients=SimpleNamespace(profile="")), False),
    ],
)
def test_s3_copies_within_an_account_that_one_profile_reaches(source: Any, copies: bool) -> None:
    assert objects().copies_from(source) == copies


def test_it_copies_nothing_for_a_bucket_of_an_unknown_account() -> None:
    assert not objects({}).copies_from(objects({}))
