"""Triggers of schedules: cron expressions in a time zone named as in Windows or by IANA.

https://learn.microsoft.com/azure/machine-learning/reference-yaml-schedule

Unsure (60 %): the rules are the reference's, which names no codes; codes and messages are assumed.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document

ZONES = {
    "UTC": "UTC",
    "GMT Standard Time": "Europe/London",
    "W. Europe Standard Time": "Europe/Berlin",
    "Romance Standard Time": "Europe/Paris",
    "Central Europe Standard Time": "Europe/Budapest",
    "Central European Standard Time": "Europe/Warsaw",
    "FLE Standard Time": "Europe/Kiev",
    "E. Europe Standard Time": "Europe/Chisinau",
    "Eastern Standard Time": "America/New_York",
    "Central Standard Time": "America/Chicago",
    "Mountain Standard Time": "America/Denver",
    "Pacific Standard Time": "America/Los_Angeles",
    "E. South America Standard Time": "America/Sao_Paulo",
    "India Standard Time": "Asia/Kolkata",
    "China Standard Time": "Asia/Shanghai",
    "Tokyo Standard Time": "Asia/Tokyo",
    "Singapore Standard Time": "Asia/Singapore",
    "AUS Eastern Standard Time": "Australia/Sydney",
}
"""Windows' names of common time zones -> IANA's, from the Unicode CLDR's table."""
_WHERE = "properties.trigger"


def check(trigger: Document) -> None:
    """Refuses a trigger that can't be parsed.

    Raises:
        ArmError: 400, with the member as target.
    """
    next_after(trigger, datetime(2024, 1, 1, tzinfo=UTC))


def next_after(trigger: Document, when: datetime) -> datetime | None:
    """Returns when a schedule's trigger is next due after a time with a zone; None for never.

    Raises:
        ArmError: 400, the trigger can't be parsed.
    """
    if trigger["triggerType"] != "Cron":
        # the twin's own: recurrences are not judged
        raise ArmError(400, "UserError", "Recurrences are not on this twin: use a cron expression.", _WHERE)
    zone = _zone(trigger.get("timeZone") or "UTC")
    start, end = (_time(trigger, name, zone) for name in ("startTime", "endTime"))
    after = max(when, start - timedelta(seconds=1)) if start else when
    try:
        found = next(CronSim(trigger["expression"], after.astimezone(zone)), None)
    except CronSimError as e:
        message = f"{trigger['expression']!r} is not a cron expression of minutes, hours, days, months, weekdays: {e}."
        raise ArmError(400, "UserError", message, f"{_WHERE}.expression") from e
    return found if found and (end is None or found <= end) else None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(ZONES.get(name, name))
    except (ZoneInfoNotFoundError, ValueError) as e:
        raise ArmError(400, "UserError", f"{name!r} is not a known time zone.", f"{_WHERE}.timeZone") from e


def _time(trigger: Document, name: str, zone: ZoneInfo) -> datetime | None:
    if not trigger.get(name):
        return None
    try:
        found = datetime.fromisoformat(trigger[name].replace("Z", "+00:00"))
    except ValueError as e:
        raise ArmError(400, "UserError", f"{trigger[name]!r} is not a time.", f"{_WHERE}.{name}") from e
    return found if found.tzinfo else found.replace(tzinfo=zone)
