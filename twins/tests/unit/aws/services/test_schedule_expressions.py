"""Schedule expressions, as AWS's user guide explains them."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.services.schedule_expressions import next_after

WEDNESDAY = datetime(2026, 11, 25, 18, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("cron(0 20 * * ? *)", datetime(2026, 11, 25, 20, 0)),
        ("cron(0 3 * * ? *)", datetime(2026, 11, 26, 3, 0)),
        ("cron(0/15 * * * ? *)", datetime(2026, 11, 25, 18, 15)),
        ("cron(15 10 ? * MON-FRI *)", datetime(2026, 11, 26, 10, 15)),
        ("cron(0 9 29 NOV ? *)", datetime(2026, 11, 29, 9, 0)),
        ("cron(0 0 1 1 ? 2028)", datetime(2028, 1, 1)),
        ("at(2026-11-25T18:01:00)", datetime(2026, 11, 25, 18, 1)),
        ("rate(5 minutes)", datetime(2026, 11, 25, 18, 5, 30)),
        ("rate(1 day)", datetime(2026, 11, 26, 18, 0, 30)),
    ],
)
def test_expression_is_due(expression: str, due: datetime) -> None:
    assert next_after(expression, WEDNESDAY.timestamp()) == due.replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize("expression", ["at(2026-11-25T18:00:00)", "cron(0 0 1 1 ? 2020)"])
def test_what_is_over_is_never_due(expression: str) -> None:
    assert next_after(expression, WEDNESDAY.timestamp()) is None


def test_time_of_day_is_the_zones() -> None:
    due = next_after("cron(0 20 * * ? *)", WEDNESDAY.timestamp(), "Europe/Berlin")
    assert due == datetime(2026, 11, 25, 20, 0, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()


@pytest.mark.parametrize(
    "expression",
    [
        "every day",
        "cron(0 3 * * * *)",
        "cron(60 3 * * ? *)",
        "cron(0 3 * ?)",
        "rate(0 days)",
        "rate(5 weeks)",
        "at(noon)",
    ],
)
def test_what_can_not_be_read_is_refused(expression: str) -> None:
    with pytest.raises(AwsApiError, match="Invalid Schedule Expression"):
        next_after(expression, 0)


def test_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(AwsApiError, match="Invalid Schedule Expression Timezone"):
        next_after("rate(1 day)", 0, "Mars/North")


@pytest.mark.parametrize("days", ["? * 6L", "? * 2#1", "L * ?", "29W NOV ?", "LW * ?"])
def test_days_that_the_twin_does_not_judge_are_refused_as_that(days: str) -> None:
    with pytest.raises(AwsApiError, match="does not judge L, W and #") as refused:
        next_after(f"cron(0 9 {days} *)", 0)
    assert refused.value.code == "NotImplemented"
