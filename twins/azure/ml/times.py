"""Triggers of schedules: cron expressions and recurrences, in a time zone by Windows' name for it or IANA's.

https://learn.microsoft.com/azure/machine-learning/reference-yaml-schedule

Unsure (60 %): the rules are the reference's, which names no codes; code and words are assumed.
"""

import calendar
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from twins.azure.arm.calls import Document
from twins.azure.arm.errors import ArmError

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
"""Windows' names of time zones, the usual ones, by the Unicode CLDR's table."""
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_STEPS = {
    "Minute": timedelta(minutes=1),
    "Hour": timedelta(hours=1),
    "Day": timedelta(days=1),
    "Week": timedelta(weeks=1),
}
_DAYS_AHEAD = 366 * 5
_WHERE = "properties.trigger"


def check(trigger: Document) -> None:
    """Refuse a trigger that can't be read.

    Raises:
        ArmError: 400, with the member as target.
    """
    next_after(trigger, datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC))


def next_after(trigger: Document, when: datetime, created: datetime) -> datetime | None:
    """When a trigger is due next after a time; None: never.

    Args:
        trigger: of a schedule.
        when: with a time zone.
        created: when the schedule was; what recurs without a startTime, counts from then.

    Raises:
        ArmError: 400, it can't be read.
    """
    zone = _zone(trigger.get("timeZone") or "UTC")
    start, end = (_time(trigger, name, zone) for name in ("startTime", "endTime"))
    after = max(when, start - timedelta(seconds=1)) if start else when
    if trigger["triggerType"] == "Cron":
        found = _Cron(trigger["expression"]).next_after(after.astimezone(zone))
    else:
        found = _next_recurrence(trigger, after.astimezone(zone), (start or created).astimezone(zone))
    return found if found and (end is None or found <= end) else None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(ZONES.get(name, name))
    except (ZoneInfoNotFoundError, ValueError) as e:
        raise ArmError(400, "UserError", f"{name!r} is no time zone that is known.", f"{_WHERE}.timeZone") from e


def _time(trigger: Document, name: str, zone: ZoneInfo) -> datetime | None:
    if not trigger.get(name):
        return None
    try:
        found = datetime.fromisoformat(trigger[name].replace("Z", "+00:00"))
    except ValueError as e:
        raise ArmError(400, "UserError", f"{trigger[name]!r} is no time.", f"{_WHERE}.{name}") from e
    return found if found.tzinfo else found.replace(tzinfo=zone)


class _Cron:
    """Minutes, hours, day of month, month, day of week (0 to 6, from Sunday)."""

    def __init__(self, text: str) -> None:
        try:
            minutes, hours, days, months, weekdays = text.split()
            self._minutes, self._hours = _numbers(minutes, 0, 59), _numbers(hours, 0, 23)
            self._days, self._months = _numbers(days, 1, 31), _numbers(months, 1, 12)
            self._weekdays = {number % 7 for number in _numbers(weekdays, 0, 7)}
        except ValueError as e:
            message = f"{text!r} is no cron expression of minutes, hours, days, months and days of the week."
            raise ArmError(400, "UserError", message, f"{_WHERE}.expression") from e
        self._any = (days == "*", weekdays == "*")

    def next_after(self, when: datetime) -> datetime | None:
        day = when.replace(hour=0, minute=0, second=0, microsecond=0)
        for offset in range(_DAYS_AHEAD):
            date = day + timedelta(days=offset)
            for due in self._times(date) if self._matches(date) else ():
                if due > when:
                    return due
        return None

    def _times(self, date: datetime) -> Iterator[datetime]:
        for hour in sorted(self._hours):
            for minute in sorted(self._minutes):
                yield date.replace(hour=hour, minute=minute)

    def _matches(self, date: datetime) -> bool:
        by_day, by_weekday = date.day in self._days, date.isoweekday() % 7 in self._weekdays
        either = not any(self._any)  # as crontab: with both given, one of them is enough
        return date.month in self._months and ((by_day or by_weekday) if either else (by_day and by_weekday))


def _numbers(text: str, least: int, most: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        begin, _, end = span.partition("-")
        first = least if begin == "*" else int(begin)
        last = int(end) if end else most if begin == "*" or step else first
        if not least <= first <= last <= most or int(step or 1) < 1:
            raise ValueError(text)
        found.update(range(first, last + 1, int(step or 1)))
    return found


def _next_recurrence(trigger: Document, after: datetime, start: datetime) -> datetime | None:
    frequency, interval, pattern = trigger["frequency"], trigger["interval"], trigger.get("schedule")
    if interval < 1:
        raise ArmError(400, "UserError", "interval must be at least 1.", f"{_WHERE}.interval")
    if not pattern:
        return _next_step(frequency, interval, after, start)
    if frequency in ("Minute", "Hour"):
        raise ArmError(400, "UserError", "A schedule's pattern is for Day, Week and Month.", f"{_WHERE}.schedule")
    day = max(after, start).replace(hour=0, minute=0, second=0, microsecond=0)
    for offset in range(_DAYS_AHEAD):
        date = day + timedelta(days=offset)
        if _in_turn(frequency, interval, date, start) and _on_day(frequency, pattern, date):
            for hour in sorted(pattern["hours"]):
                for minute in sorted(pattern["minutes"]):
                    due = date.replace(hour=hour, minute=minute)
                    if due > after and due >= start:
                        return due
    return None


def _next_step(frequency: str, interval: int, after: datetime, start: datetime) -> datetime:
    if frequency != "Month":
        step = _STEPS[frequency] * interval
        passed = max(0, (after - start) // step + 1) if after >= start else 0
        return start + step * passed
    due, months = start, 0
    while due <= after:
        months += interval
        year, month = divmod(start.month - 1 + months, 12)
        last = calendar.monthrange(start.year + year, month + 1)[1]
        due = start.replace(year=start.year + year, month=month + 1, day=min(start.day, last))
    return due


def _in_turn(frequency: str, interval: int, date: datetime, start: datetime) -> bool:
    if frequency == "Day":
        return (date.date() - start.date()).days % interval == 0
    if frequency == "Week":
        first = start.date() - timedelta(days=start.weekday())
        return (date.date() - first).days // 7 % interval == 0
    return ((date.year - start.year) * 12 + date.month - start.month) % interval == 0


def _on_day(frequency: str, pattern: Document, date: datetime) -> bool:
    if frequency == "Week" and pattern.get("weekDays"):
        return _WEEKDAYS[date.weekday()] in pattern["weekDays"]
    if frequency == "Month" and pattern.get("monthDays"):
        return date.day in pattern["monthDays"]
    return True
