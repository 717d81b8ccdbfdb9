"""Expiry of a stack (`expires` in the stack file, and a tag of its resources) and of API keys."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator

EXPIRES_TAG = "llmops:expires"
_FORM = "%Y-%m-%dT%H:%M:%SZ"
_PULUMI_DATE = re.compile(r"^(\S+ \S+) ([+-]\d{4}) \S+$")  # Pulumi's text for an unquoted date in the stack file


def _canonical(text: str) -> str:
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(_PULUMI_DATE.sub(r"\1\2", text))
    except ValueError:
        raise ValueError(f"{text!r} is neither a date (2026-12-31) nor a time (2026-12-31T18:00Z)") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime(_FORM)


Expiry = Annotated[str, AfterValidator(_canonical)]
"""A date (its first moment) or a time, in UTC unless it names a zone; kept as 2026-12-31T18:00:00Z. Empty: never."""


def utc_text(seconds: float) -> str:
    """Returns a time in seconds since 1970 in the form of an Expiry. These texts sort by time."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_FORM)


def expired_since(expires: str, now: datetime | None = None) -> datetime | None:
    """Returns when a stack expired; None if it has not, or if `expires` is not a time (somebody else's tag)."""
    try:
        end = datetime.fromisoformat(_canonical(expires)) if expires else None
    except ValueError:
        return None
    return end if end and end <= (now or datetime.now(UTC)) else None
