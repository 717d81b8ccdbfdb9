"""What a sweep says of things: how old they are, and what of it a person need not be asked about."""

from datetime import UTC, datetime, timedelta

import pytest

from llmops_kit.cli.platforms.sweep import NOT_IN_STATE, UNKNOWN_STACK, Left, Swept, Thing, age

NOW = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.mark.parametrize(
    ("old", "text"),
    [
        (timedelta(seconds=5), "5 s"),
        (timedelta(minutes=90), "2 h"),
        (timedelta(minutes=59), "59 min"),
        (timedelta(days=3, hours=2), "3 d"),
        (timedelta(seconds=-2), "0 s"),  # another clock
    ],
)
def test_ages_are_read_at_a_glance(old: timedelta, text: str) -> None:
    assert age(NOW - old, NOW) == text
    assert age(None) == ""


def test_data_and_things_of_unknown_stacks_are_not_removed_by_the_way() -> None:
    plain, data = Thing("model", "m", "arn:m"), Thing("bucket", "b", "arn:b", data=True)
    used = Thing("model", "u", "arn:u", keep="endpoint/e uses it")
    left = [Left(thing, NOT_IN_STATE) for thing in (plain, data, used)] + [Left(plain, UNKNOWN_STACK)]
    assert Swept("here", left).removable == [Left(plain, NOT_IN_STATE)]
    assert Left(used, NOT_IN_STATE).row["why"] == f"{NOT_IN_STATE}; endpoint/e uses it"
