"""CloudWatch's alarms in time: windows of data, missing data, composite rules.

Time runs as on AWS, shrunk like all of the twin's time (`Twin.scaled`): a period of a minute lasts `seconds_of(60)`.
Missing data: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

import operator
from collections.abc import Callable
from itertools import pairwise

from twins.aws.services.cloudwatch import expressions
from twins.aws.services.cloudwatch.alarms import SERVICE, Alarms, alarms
from twins.aws.services.cloudwatch.metrics import in_window, metric_of, statistic
from twins.aws.services.documents import Document, now, regions
from twins.aws.twin import Twin

_SHORTEST = 0.05  # seconds here of a period
_EXTRA = 2  # periods that are looked at beyond those of the evaluation
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


def seconds_of(twin: Twin, period: float) -> float:
    """How long a period of so many seconds on AWS lasts on this twin."""
    return max(_SHORTEST, twin.scaled(period))


class Evaluation:
    """Looks at all alarms."""

    def __init__(self, twin: Twin, store: Alarms) -> None:
        self._twin = twin
        self._store = store

    def run(self) -> None:
        """Look at every alarm once: those of metrics, then the composite ones."""
        for region in regions(self._twin, SERVICE):
            known = list(alarms(self._twin, region).values())
            for alarm in known:
                if "AlarmRule" not in alarm and "EvaluationCriteria" not in alarm and alarm.get("held", 0) <= now():
                    self._metric(region, alarm)
            for alarm in known:
                if "AlarmRule" in alarm:
                    self._composite(region, alarm)

    def _metric(self, region: str, alarm: Document) -> None:
        values, thresholds = self._values(region, alarm)
        value, reason = _verdict(alarm, values, thresholds)
        if value != alarm["StateValue"]:
            self._store.change(region, alarm, value, reason, "")
        elif value == "ALARM":  # scaling goes on as long as its alarm does
            change = {"old": value, "new": value, "reason": reason, "at": now()}
            self._store.act(region, alarm, change, only="arn:aws:autoscaling:")

    def _values(self, region: str, alarm: Document) -> tuple[expressions.Series, expressions.Series]:
        """What the alarm watches and its threshold, for each period, oldest first."""
        queries = alarm.get("Metrics") or [_single(alarm)]
        period = max((query["MetricStat"]["Period"] for query in queries if "MetricStat" in query), default=60)
        length = alarm.get("EvaluationPeriods", 1) + _EXTRA
        seconds, end = seconds_of(self._twin, period), now()

        def series(stat: Document) -> expressions.Series:
            metric, name = metric_of(stat["Metric"]), stat["Stat"]
            edges = [end - seconds * back for back in range(length, -1, -1)]
            return [statistic(in_window(self._twin, region, metric, *window), name) for window in pairwise(edges)]

        found = expressions.evaluate(queries, series, length, float(period))
        limit = alarm.get("ThresholdMetricId")
        watched = next(query["Id"] for query in queries if query.get("ReturnData", True) and query["Id"] != limit)
        fixed: expressions.Series = [alarm.get("Threshold", 0.0)] * length
        return found[watched], found[limit] if limit else fixed

    def _composite(self, region: str, alarm: Document) -> None:
        known = alarms(self._twin, region)

        def state(name: str) -> str:
            return known.get(name.rpartition(":alarm:")[2], {}).get("StateValue", "INSUFFICIENT_DATA")

        value = "ALARM" if expressions.holds(alarm["AlarmRule"], state) else "OK"
        if value != alarm["StateValue"]:
            reason = f"{alarm['AlarmArn']} transitioned to {value}: its rule is {str(value == 'ALARM').lower()}"
            self._store.change(region, alarm, value, reason, "")


def _single(alarm: Document) -> Document:
    metric = {name: alarm.get(name) for name in ("Namespace", "MetricName", "Dimensions")}
    stat = alarm.get("Statistic") or alarm.get("ExtendedStatistic")
    return {"Id": "m", "MetricStat": {"Metric": metric, "Period": alarm.get("Period", 60), "Stat": stat}}


def _verdict(alarm: Document, values: expressions.Series, thresholds: expressions.Series) -> tuple[str, str]:
    compare = _COMPARISONS.get(alarm.get("ComparisonOperator", ""), operator.gt)
    periods = alarm.get("EvaluationPeriods", 1)
    needed = alarm.get("DatapointsToAlarm") or periods
    pairs = list(zip(reversed(values), reversed(thresholds), strict=True))  # newest first
    real = [
        (back, compare(value, limit), value)
        for back, (value, limit) in enumerate(pairs, start=1)
        if value is not None and limit is not None
    ]
    state = _state(alarm, [(back, breach) for back, breach, _ in real], periods, needed)
    return state, _reason(alarm, state, [value for _, _, value in real[:periods]])


def _state(alarm: Document, real: list[tuple[int, bool]], periods: int, needed: int) -> str:
    """The state by the data points that are there: (how many periods ago, breaching), newest first."""
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
        return "ALARM"  # all that came breaches, and long enough
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
