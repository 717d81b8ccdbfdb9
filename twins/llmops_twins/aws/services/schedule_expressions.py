"""Schedule expressions of EventBridge Scheduler: at(…), rate(…), cron(…), in a time zone.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

import calendar
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from llmops_twins.aws.calls import AwsApiError, not_judged

_MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), start=1)}
_UNITS = {"minute": 60, "hour": 3600, "day": 86400}
_EXPRESSION = re.compile(r"^(at|rate|cron)\((.+)\)$")
_RATE = re.compile(r"^(\d+) (minute|hour|day)s?$")
_YEARS_AHEAD = 5


def check(expression: str, timezone: str = "UTC") -> None:
    """Checks that expression and time zone can be parsed.

    Raises:
        AwsApiError: ValidationException.
    """
    next_after(expression, 0.0, timezone)


def next_after(expression: str, when: float, timezone: str = "UTC") -> float | None:
    """Returns when an expression is next due after a time (seconds since 1970); None for never.

    A rate counts from `when`. A cron expression is searched for five years ahead.

    Raises:
        AwsApiError: ValidationException, if the expression or the zone can't be parsed.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as e:
        raise AwsApiError("ValidationException", f"Invalid Schedule Expression Timezone {timezone}.") from e
    match = _EXPRESSION.match(expression)
    try:
        if match and match[1] == "at":
            due = datetime.strptime(match[2], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=zone).timestamp()
            return due if due > when else None
        if match and match[1] == "rate":
            amount, unit = _RATE.fullmatch(match[2]).groups()  # pyright: ignore[reportOptionalMemberAccess]
            if int(amount) < 1:
                raise ValueError(expression)
            return when + int(amount) * _UNITS[unit]
        if match:
            return _CronExpression(match[2]).next_after(datetime.fromtimestamp(when, zone))
    except (ValueError, AttributeError, IndexError, KeyError) as e:
        raise AwsApiError("ValidationException", f"Invalid Schedule Expression {expression}.") from e
    raise AwsApiError("ValidationException", f"Invalid Schedule Expression {expression}.")


class _CronExpression:
    """The fields minutes, hours, day of month, month, day of week, year."""

    def __init__(self, text: str) -> None:
        minutes, hours, self._day, months, self._weekday, years = text.split()
        if re.search(r"\d[LW]|\bL|#", f"{self._day} {self._weekday}".upper()):
            raise not_judged(f"L, W and # in a cron expression: {text}")
        if (self._day == "?") == (self._weekday == "?"):
            raise ValueError("one of day of month and day of week is ?")
        self._minutes = _numbers(minutes, 0, 59)
        self._hours = _numbers(hours, 0, 23)
        self._months = _numbers(months, 1, 12, _MONTHS)
        self._years = _numbers(years, 1970, 2199)
        self._matches(datetime(2024, 1, 1, tzinfo=UTC))  # raises if the days are invalid

    def next_after(self, when: datetime) -> float | None:
        day = when.replace(hour=0, minute=0, second=0, microsecond=0)
        for offset in range(366 * _YEARS_AHEAD):
            date = day + timedelta(days=offset)
            if date.month not in self._months or date.year not in self._years or not self._matches(date):
                continue
            for hour in self._hours:
                for minute in self._minutes:
                    due = date.replace(hour=hour, minute=minute)
                    if due > when:
                        return due.timestamp()
        return None

    def _matches(self, date: datetime) -> bool:
        if self._day != "?":
            return date.day in _numbers(self._day, 1, 31)
        return date.isoweekday() % 7 + 1 in _numbers(self._weekday, 1, 7, _DAYS)


def _numbers(text: str, least: int, most: int, names: dict[str, int] | None = None) -> list[int]:
    found: set[int] = set()
    for part in text.upper().split(","):
        span, _, step = part.partition("/")
        begin, _, end = span.partition("-")
        first = least if begin == "*" else _number(begin, names or {})
        final = _number(end, names or {}) if end else (most if begin == "*" or step else first)
        if not least <= first <= final <= most:
            raise ValueError(text)
        found.update(range(first, final + 1, int(step or 1)))
    return sorted(found)


def _number(text: str, names: dict[str, int]) -> int:
    return names[text] if text in names else int(text)
