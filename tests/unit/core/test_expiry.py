"""`expires`: what may be written, and when a stack's life has ended."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from llmops_kit.core.expiry import Expiry, expired_since

ADAPTER = TypeAdapter(Expiry)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("", ""),
        ("2026-12-31", "2026-12-31T00:00:00Z"),
        ("2026-12-31T18:00Z", "2026-12-31T18:00:00Z"),
        ("2026-12-31T18:00", "2026-12-31T18:00:00Z"),
        ("2026-12-31T18:00+02:00", "2026-12-31T16:00:00Z"),
        ("2026-12-31 00:00:00 +0000 UTC", "2026-12-31T00:00:00Z"),  # as Pulumi passes on an unquoted date
    ],
)
def test_dates_and_times_become_one_form(written: str, kept: str) -> None:
    assert ADAPTER.validate_python(written) == kept
    assert ADAPTER.validate_python(kept) == kept


@pytest.mark.parametrize("written", ["soon", "31.12.2026", "2026-13-01", "in 2 weeks"])
def test_anything_else_is_refused(written: str) -> None:
    with pytest.raises(ValidationError, match="is neither a date"):
        ADAPTER.validate_python(written)


def test_a_life_ends_at_that_very_moment() -> None:
    end = datetime(2026, 12, 31, tzinfo=UTC)
    assert expired_since("2026-12-31", end) == end
    assert expired_since("2026-12-31", datetime(2026, 12, 30, 23, 59, tzinfo=UTC)) is None
    assert expired_since("", end) is None
    assert expired_since("never, says somebody's tag", end) is None
