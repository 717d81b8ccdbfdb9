"""Evaluates CloudWatch's alarms over windows of data, with missing data.

Time is scaled like all of the twin's time: a period of a minute lasts `seconds_of(60)`.
Missing data: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

import operator
from collections.abc import Callable
from itertools import pairwise

from llmops_twins.aws.service_documents import Document, now, regions
from llmops_twins.aws.services.cloudwatch.alarms import SERVICE, MetricAlarms, alarms
from llmops_twins.aws.services.cloudwatch.metric_queries import period_of, value_of
from llmops_twins.aws.services.cloudwatch.metrics import in_window, metric_of, statistic
from llmops_twins.aws.twin import AccountTwin

_SHORTEST = 0.05  # real seconds of the shortest period
_EXTRA = 2  # periods examined in addition to the evaluation periods
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
_WORDS = {
    "GreaterThanOrEqualToThreshold": "greater than or equal to",
    "GreaterThanThreshold": "greater than",
    "LessThanThreshold": "less than",
    "LessThanOrEqualToThreshold": "less than or equal to",
}


def seconds_of(twin: AccountTwin, period: float) -> float:
    """Returns the real seconds on this twin of a period in AWS seconds."""
    return max(_SHORTEST, twin.scaled(period))


class AlarmEvaluation:
    """Evaluates all alarms."""

    def __init__(self, twin: AccountTwin, store: MetricAlarms) -> None:
        self._twin = twin
        self._store = store

    def run(self) -> None:
        """Evaluates every alarm once."""
        for region in regions(self._twin, SERVICE):
            for alarm in list(alarms(self._twin, region).values()):
                if alarm.get("held", 0) <= now():
                    self._look(region, alarm)

    def _look(self, region: str, alarm: Document) -> None:
        value, reason = _verdict(alarm, self._values(region, alarm))
        if value != alarm["StateValue"]:
            self._store.change(region, alarm, value, reason, "")
        elif value == "ALARM":  # scaling continues while its alarm is in ALARM
            change = {"old": value, "new": value, "reason": reason, "at": now()}
            self._store.act(region, alarm, change, only="arn:aws:autoscaling:")

    def _values(self, region: str, alarm: Document) -> list[float | None]:
        """Returns the watched value of each period, newest first; None where there are no data.

        The window slides, so that a period may be longer than the time between two evaluations:
        https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation-window.html
        """
        seconds, end = seconds_of(self._twin, period_of(alarm)), now()
        edges = [end - seconds * back for back in range(alarm.get("EvaluationPeriods", 1) + _EXTRA + 1)]
        windows = [(begin, until) for until, begin in pairwise(edges)]
        if alarm.get("Metrics"):
            return [value_of(self._twin, region, alarm, begin, until) for begin, until in windows]
        metric, name = metric_of(alarm), alarm.get("Statistic") or alarm["ExtendedStatistic"]
        return [statistic(in_window(self._twin, region, metric, begin, until), name) for begin, until in windows]


def _verdict(alarm: Document, values: list[float | None]) -> tuple[str, str]:
    """Returns state and reason from the values of the periods, newest first."""
    compare = _COMPARISONS.get(alarm.get("ComparisonOperator", ""), operator.gt)
    periods = alarm.get("EvaluationPeriods", 1)
    needed = alarm.get("DatapointsToAlarm") or periods
    threshold = alarm.get("Threshold", 0.0)
    real = [(back, value) for back, value in enumerate(values, start=1) if value is not None]
    state = _state(alarm, [(back, compare(value, threshold)) for back, value in real], periods, needed)
    return state, _reason(alarm, state, [value for _, value in real[:periods]])


def _state(alarm: Document, real: list[tuple[int, bool]], periods: int, needed: int) -> str:
    """Returns the state from the existing data points: (how many periods ago, breaching), newest first."""
    treatment = alarm.get("TreatMissingData", "missing")
    if len(real) >= periods:
        return "ALARM" if sum(breach for _, breach in real[:periods]) >= needed else "OK"
    breaching = sum(breach for _, breach in real)
    if treatment == "breaching":
        return "ALARM" if breaching + periods - len(real) >= needed else "OK"
    if breaching >= needed:
        return "ALARM"
    if treatment == "notBreaching":
        return "OK"
    if not real:
        return "INSUFFICIENT_DATA" if treatment == "missing" else alarm["StateValue"]
    if not all(breach for _, breach in real):
        return "OK"
    if treatment == "missing" and real[-1][0] >= needed:
        return "ALARM"  # all existing points breach, and go back far enough
    return alarm["StateValue"]


def _reason(alarm: Document, state: str, values: list[float]) -> str:
    if state == "INSUFFICIENT_DATA":
        return "Insufficient Data: no data points were received."
    if not values:
        treatment = alarm.get("TreatMissingData", "missing")
        return f"Threshold Crossed: no datapoints were received and missing data points were treated as {treatment}."
    words = _WORDS.get(alarm.get("ComparisonOperator", ""), "outside of")
    number = "datapoint" if len(values) == 1 else "datapoints"
    verb = "was" if len(values) == 1 else "were"
    negation = "" if state == "ALARM" else "not "
    shown = ", ".join(str(value) for value in values)
    limit = alarm.get("Threshold", "of the band")
    return f"Threshold Crossed: {len(values)} {number} [{shown}] {verb} {negation}{words} the threshold ({limit})."
