"""CloudWatch's metrics: data points, their statistics over periods, and the API that writes and reads them.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricStatistics.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
"""

import math
from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmops_twins.aws.calls import ApiCall, AwsApiError, not_judged
from llmops_twins.aws.service_documents import Document, now, page, plain, shelf
from llmops_twins.aws.twin import AccountTwin

_KEPT_POINTS = 5000  # per metric
_SERVICE = "cloudwatch"
_TWO_WEEKS = 14 * 86400

Point = list[float]
"""[time, count, sum, least, most]; a metric's points are kept in order of time."""


@dataclass(frozen=True)
class CloudWatchMetric:
    """The identity of a metric: namespace, name, and dimensions in order."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """Key of the metric's document in the twin's state."""
        return "\n".join([self.namespace, self.name, *(f"{name}={value}" for name, value in self.dimensions)])


def metric_of(document: Mapping[str, Any]) -> CloudWatchMetric:
    """Returns the metric identified by a structure of the API."""
    named = document.get("Dimensions") or []
    dimensions = tuple(sorted((entry["Name"], entry["Value"]) for entry in named))
    return CloudWatchMetric(document.get("Namespace", ""), document["MetricName"], dimensions)


def put(
    twin: AccountTwin,
    region: str,
    metric: CloudWatchMetric,
    value: float,
    unit: str = "None",
    when: float | None = None,
) -> None:
    """Adds a data point for one of the twin's own services, which may use AWS's namespaces."""
    add(twin, region, metric, [now() if when is None else when, 1.0, value, value, value], unit)


def add(twin: AccountTwin, region: str, metric: CloudWatchMetric, point: Point, unit: str) -> None:
    """Adds a data point or a set of statistics."""
    document = shelf(twin, _SERVICE, "metrics", region).setdefault(
        metric.key,
        {
            "Namespace": metric.namespace,
            "MetricName": metric.name,
            "Dimensions": [{"Name": name, "Value": value} for name, value in metric.dimensions],
            "unit": unit,
            "points": [],
        },
    )
    insort(document["points"], point, key=_time)
    del document["points"][:-_KEPT_POINTS]
    twin.changed()


def statistic(points: Iterable[Point], name: str) -> float | None:
    """Returns a statistic ("Average", "p99", …) of data points; None if there are none."""
    found = list(points)
    if not found:
        return None
    count, total = sum(point[1] for point in found), sum(point[2] for point in found)
    if name.startswith("p") and name[1:].replace(".", "", 1).isdigit():
        return _percentile([(point[2] / point[1], point[1]) for point in found if point[1]], float(name[1:]))
    values = {
        "SampleCount": count,
        "Sum": total,
        "Average": total / count if count else 0.0,
        "Minimum": min(point[3] for point in found),
        "Maximum": max(point[4] for point in found),
    }
    if name not in values:
        raise AwsApiError("InvalidParameterValue", f"The value {name} for parameter Statistic is not supported.")
    return values[name]


def in_window(twin: AccountTwin, region: str, metric: CloudWatchMetric, begin: float, end: float) -> list[Point]:
    """Returns the data points after `begin`, up to and including `end`."""
    points = shelf(twin, _SERVICE, "metrics", region).get(metric.key, {}).get("points", [])
    return points[bisect_right(points, begin, key=_time) : bisect_right(points, end, key=_time)]


def _time(point: Point) -> float:
    return point[0]


def _percentile(weighted: list[tuple[float, float]], percent: float) -> float:
    ordered = sorted(weighted)
    wanted = math.ceil(sum(count for _, count in ordered) * percent / 100) or 1
    seen = 0.0
    for value, count in ordered:
        seen += count
        if seen >= wanted:
            return value
    return ordered[-1][0]


class MetricOperations:
    """Operations on metrics, one method each."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def put_metric_data(self, call: ApiCall) -> None:
        namespace = call.parameters["Namespace"]
        if namespace.startswith("AWS/"):
            raise AwsApiError("InvalidParameterValue", "The value AWS/ for parameter Namespace is invalid.")
        data = list(call.parameters.get("MetricData", []))
        for entity in call.parameters.get("EntityMetricData", []):
            data.extend(entity.get("MetricData", []))
        if not data:
            raise AwsApiError("MissingParameter", "The parameter MetricData is required.")
        checked = [(datum, _points(datum, position)) for position, datum in enumerate(data, start=1)]
        for datum, points in checked:
            metric = metric_of({"Namespace": namespace, **datum})
            for point in points:
                add(self._twin, call.region, metric, point, datum.get("Unit", "None"))

    def list_metrics(self, call: ApiCall) -> Document:
        wanted = call.parameters
        found = [
            {name: document[name] for name in ("Namespace", "MetricName", "Dimensions")}
            for document in shelf(self._twin, _SERVICE, "metrics", call.region).values()
            if _matches(document, wanted)
        ]
        metrics, token = page(found, wanted.get("NextToken"), 500)
        return {"Metrics": metrics, "NextToken": token}

    def get_metric_statistics(self, call: ApiCall) -> Document:
        wanted = plain(call.parameters)
        if wanted["StartTime"] >= wanted["EndTime"]:
            text = "The parameter StartTime must be less than the parameter EndTime."
            raise AwsApiError("InvalidParameterValue", text)
        names = [*wanted.get("Statistics", []), *wanted.get("ExtendedStatistics", [])]
        if not names:
            raise AwsApiError("MissingParameter", "At least one of the parameters Statistics and ExtendedStatistics must be specified.")  # fmt: skip # noqa: E501
        metric = metric_of(wanted)
        unit = shelf(self._twin, _SERVICE, "metrics", call.region).get(metric.key, {}).get("unit", "None")
        found = []
        for begin, end in _periods(wanted["StartTime"], wanted["EndTime"], wanted["Period"]):
            points = in_window(self._twin, call.region, metric, begin - 1e-6, end - 1e-6)
            if points:
                values = {name: statistic(points, name) for name in wanted.get("Statistics", [])}
                extended = {name: statistic(points, name) for name in wanted.get("ExtendedStatistics", [])}
                more = {"ExtendedStatistics": extended} if extended else {}
                found.append({"Timestamp": begin, "Unit": unit, **values, **more})
        return {"Label": wanted["MetricName"], "Datapoints": found}

    def get_metric_data(self, call: ApiCall) -> Document:
        wanted = plain(call.parameters)
        queries = wanted["MetricDataQueries"]
        if any("MetricStat" not in query for query in queries):
            raise not_judged("metric math: a query without MetricStat")
        newest_first = wanted.get("ScanBy", "TimestampDescending") == "TimestampDescending"
        results = []
        for query in queries:
            if not query.get("ReturnData", True):
                continue
            stat = query["MetricStat"]
            windows = list(_periods(wanted["StartTime"], wanted["EndTime"], stat.get("Period", 60)))
            pairs = [
                (begin, statistic(points, stat["Stat"]))
                for begin, end in (reversed(windows) if newest_first else windows)
                if (points := in_window(self._twin, call.region, metric_of(stat["Metric"]), begin - 1e-6, end - 1e-6))
            ]
            results.append(
                {
                    "Id": query["Id"],
                    "Label": query.get("Label") or stat["Metric"]["MetricName"],
                    "Timestamps": [pair[0] for pair in pairs],
                    "Values": [pair[1] for pair in pairs],
                    "StatusCode": "Complete",
                }
            )
        return {"MetricDataResults": results, "Messages": []}


def _points(datum: Document, position: int) -> list[Point]:
    field = f"MetricData.member.{position}"
    when = plain(datum["Timestamp"]) if datum.get("Timestamp") else now()
    if when < now() - _TWO_WEEKS or when > now() + 7200:
        text = f"The parameter {field}.Timestamp must specify a time within the past two weeks and two hours ahead."
        raise AwsApiError("InvalidParameterValue", text)
    given = [name for name in ("Value", "Values", "StatisticValues") if datum.get(name) is not None]
    if len(given) > 1:
        text = f"The parameters {field}.{given[0]} and {field}.{given[1]} are mutually exclusive and you have specified both."  # fmt: skip # noqa: E501
        raise AwsApiError("InvalidParameterCombination", text)
    if not given:
        raise AwsApiError("MissingParameter", f"The parameter {field}.Value is required.")
    if given == ["StatisticValues"]:
        values = datum["StatisticValues"]
        return [[when, values["SampleCount"], values["Sum"], values["Minimum"], values["Maximum"]]]
    values = datum.get("Values") or [datum["Value"]]
    counts = datum.get("Counts") or [1.0] * len(values)
    if len(counts) != len(values):
        text = f"The parameters {field}.Values and {field}.Counts must be of the same size."
        raise AwsApiError("InvalidParameterValue", text)
    for value in values:
        if math.isnan(value) or math.isinf(value):
            raise AwsApiError("InvalidParameterValue", f"The value {value} for parameter {field}.Value is invalid.")
    return [[when, count, value * count, value, value] for value, count in zip(values, counts, strict=True)]


def _matches(document: Document, wanted: Document) -> bool:
    for name in ("Namespace", "MetricName"):
        if name in wanted and wanted[name] != document[name]:
            return False
    own = {entry["Name"]: entry["Value"] for entry in document["Dimensions"]}
    filters = wanted.get("Dimensions", [])
    return all(
        entry["Name"] in own and entry.get("Value", own[entry["Name"]]) == own[entry["Name"]] for entry in filters
    )


def _periods(begin: float, end: float, period: float) -> Iterable[tuple[float, float]]:
    start = begin - begin % period
    while start < end:
        yield start, start + period
        start += period
