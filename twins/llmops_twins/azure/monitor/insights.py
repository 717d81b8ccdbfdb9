"""Azure Monitor's metrics of online endpoints and deployments, counted from their real requests.

https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-machinelearningservices-workspaces-onlineendpoints-metrics
https://learn.microsoft.com/rest/api/monitor/metrics/list
"""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from llmops_twins.azure.ml.endpoints import DEPLOYMENTS
from llmops_twins.azure.ml.endpoints import TYPE as ENDPOINTS
from llmops_twins.azure.ml.ml_documents import seconds
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document, Reply
from llmops_twins.azure.protocol.ids import Id
from llmops_twins.azure.telemetry.metering import RequestMeter, ScoredRequest
from llmops_twins.azure.twin import TenantTwin

_PROVIDER = "Microsoft.Insights"
_FILTER = re.compile(r"\s*(\w+)\s+eq\s+'([^']*)'\s*")
_AGGREGATIONS = ("average", "total", "count", "maximum", "minimum")
_MOST_POINTS = 1440
_SERIES = 10
"""Number of series in a response to a request with a $filter and without `top`; the rest is dropped, without a next
page.

https://learn.microsoft.com/rest/api/monitor/metrics/list#uri-parameters
"""
_DIMENSIONS: dict[str, Callable[[ScoredRequest], str]] = {
    "deployment": lambda answered: answered.deployment,
    "statusCode": lambda answered: str(answered.status),
    "statusCodeClass": lambda answered: f"{answered.status // 100}xx",
    "modelStatusCode": lambda answered: str(answered.model_status),
}
_NAMES = {name.lower(): name for name in _DIMENSIONS}


@dataclass(frozen=True)
class EndpointMetric:
    """A metric of endpoints: its unit, dimensions, and a function of its value for requests within a number of minutes
    (None: no data).
    """

    unit: str
    dimensions: tuple[str, ...]
    value: Callable[[Sequence[ScoredRequest], float], float | None]


def _latency(share: float | None) -> Callable[[Sequence[ScoredRequest], float], float | None]:
    """Returns the function of a latency metric in milliseconds: the mean, or a percentile."""

    def value(answers: Sequence[ScoredRequest], _minutes: float) -> float | None:
        found = sorted(1000 * each.seconds for each in answers if each.model_status)
        if not found:
            return None
        return sum(found) / len(found) if share is None else found[max(0, math.ceil(len(found) * share) - 1)]

    return value


_BY_DEPLOYMENT = ("deployment",)
METRICS = {
    "RequestsPerMinute": EndpointMetric("Count", tuple(_DIMENSIONS), lambda answers, minutes: len(answers) / minutes),
    "RequestLatency": EndpointMetric("Milliseconds", _BY_DEPLOYMENT, _latency(None)),
    **{
        f"RequestLatency_P{p}": EndpointMetric("Milliseconds", _BY_DEPLOYMENT, _latency(p / 100))
        for p in (50, 90, 95, 99)
    },
    "NetworkBytes": EndpointMetric(
        "BytesPerSecond", (), lambda answers, minutes: sum(a.sent + a.received for a in answers) / (60 * minutes)
    ),
    "NewConnectionsPerSecond": EndpointMetric(
        "CountPerSecond", (), lambda answers, minutes: len(answers) / (60 * minutes)
    ),
}
CONNECTIONS, CAPACITY = "ConnectionsActive", "DeploymentCapacity"


@dataclass(frozen=True)
class _MetricQuery:
    """A query for metrics: the resource, `first` to `end` in steps of seconds, and dimensions by name."""

    resource_id: str
    first: float
    end: float
    step: float
    aggregations: Sequence[str]
    wanted: Mapping[str, str]
    top: int


class Insights:
    """Evaluates metrics; its methods are called with the twin's lock held."""

    def __init__(self, twin: TenantTwin, meter: RequestMeter) -> None:
        self._twin = twin
        self._meter = meter
        twin.action(_PROVIDER, "metrics", self._metrics, f"{_PROVIDER}/metrics/read", "GET")

    def value(self, resource_id: str, name: str, begin: float, end: float, wanted: Mapping[str, str]) -> float | None:
        """Returns a metric of an endpoint or a deployment between two times (seconds since 1970); None without data. A
        rate is per real minute, however short the window is here: requests take real time.

        Args:
            resource_id: id of the endpoint or deployment.
            name: the metric's name.
            begin: start of the window.
            end: end of the window.
            wanted: values of dimensions by name.

        Raises:
            ArmError: 400, the resource has no such metric.
        """
        self._check(resource_id, name)
        if name == CAPACITY:
            return float(((self._twin.find(resource_id) or {}).get("sku") or {}).get("capacity") or 0)
        if name == CONNECTIONS:
            found = self._meter.connections(resource_id, begin, end)
            return sum(found) / len(found) if found else 0.0
        answers = [each for each in self._meter.since(resource_id, begin, end) if _is(each, wanted)]
        return METRICS[name].value(answers, (end - begin) / 60)

    def _check(self, resource_id: str, name: str) -> None:
        type_ = Id.parse(resource_id).type.lower()
        known = {ENDPOINTS.lower(): [*METRICS, CONNECTIONS], DEPLOYMENTS.lower(): [CAPACITY]}.get(type_, [])
        if name not in known:
            valid = ",".join(known)
            message = f"Failed to find metric configuration for metric: {name}. Valid metrics on this twin: {valid}"
            raise ArmError(400, "BadRequest", message)

    def _metrics(self, twin: TenantTwin, call: ArmCall, _document: Any) -> Reply:
        resource_id = _scope(twin, call)
        begin, end = _timespan(call.query.get("timespan", ""))
        interval = call.query.get("interval") or "PT1M"
        step = seconds(interval, "interval")
        if step <= 0 or (end - begin) / step > _MOST_POINTS:
            raise ArmError(400, "BadRequest", f"The timespan has more than {_MOST_POINTS} intervals.")
        aggregations = [each.lower() for each in (call.query.get("aggregation") or "Average").split(",")]
        if not set(aggregations) <= set(_AGGREGATIONS):
            raise ArmError(400, "BadRequest", f"Aggregations are {', '.join(_AGGREGATIONS)}.")
        wanted = _filter(call.query.get("$filter", ""))
        asked = _MetricQuery(resource_id, begin // step * step, end, step, aggregations, wanted, _top(call))
        names = [name for name in call.query.get("metricnames", "").split(",") if name]
        return Reply(
            200,
            {
                "cost": 0,
                "timespan": f"{_text(begin)}/{_text(end)}",
                "interval": interval,
                "value": [self._metric(asked, name) for name in names],
                "namespace": Id.parse(resource_id).type,
                "resourceregion": (twin.find(resource_id) or {}).get("location", ""),
            },
        )

    def _metric(self, asked: "_MetricQuery", name: str) -> Document:
        self._check(asked.resource_id, name)
        for dimension in asked.wanted:
            if name not in METRICS or dimension not in METRICS[name].dimensions:
                raise ArmError(400, "BadRequest", f"The metric {name} has no dimension {dimension}.")
        answers = self._meter.since(asked.resource_id, asked.first, asked.end) if name in METRICS else []
        series = [
            {"metadatavalues": _named(values), "data": list(self._points(asked, name, answers, values))}
            for values in _splits(answers, asked.wanted)[: asked.top]
        ]
        unit = METRICS[name].unit if name in METRICS else "Count"
        return {
            "id": f"{asked.resource_id}/providers/{_PROVIDER}/metrics/{name}",
            "type": f"{_PROVIDER}/metrics",
            "name": {"value": name, "localizedValue": name},
            "unit": unit,
            "timeseries": series,
            "errorCode": "Success",
        }

    def _points(
        self, asked: "_MetricQuery", name: str, answers: Sequence[ScoredRequest], values: Mapping[str, str]
    ) -> Iterator[Document]:
        """Yields a value for each interval."""
        buckets: dict[int, list[ScoredRequest]] = {}
        for each in answers:
            if _is(each, values):
                buckets.setdefault(int((each.when - asked.first) // asked.step), []).append(each)
        for number in range(math.ceil((asked.end - asked.first) / asked.step)):
            at = asked.first + number * asked.step
            if name in METRICS:
                value = METRICS[name].value(buckets.get(number, []), asked.step / 60)
            else:
                value = self.value(asked.resource_id, name, at, at + asked.step, values)
            point = {} if value is None else dict.fromkeys(asked.aggregations, value)
            yield {"timeStamp": _text(at), **point}


def _scope(twin: TenantTwin, call: ArmCall) -> str:
    resource_id = Id.parse(call.path).scope
    found = twin.find(resource_id)
    if found is None:
        raise ArmError(404, "ResourceNotFound", f"The resource {resource_id} was not found.")
    return found["id"]


def _top(call: ArmCall) -> int:
    given = call.query.get("top") or str(_SERIES)
    if not given.isdigit():
        raise ArmError(400, "BadRequest", f"The value {given!r} of top is not a number.")
    return int(given)


def _splits(answers: Sequence[ScoredRequest], wanted: Mapping[str, str]) -> list[dict[str, str]]:
    """Returns the combinations of values of the dimensions filtered by `*`; one without them if there are none."""
    split = [name for name, value in wanted.items() if value == "*"]
    named = {name: value for name, value in wanted.items() if value != "*"}
    if not split:
        return [named]
    found = {tuple(_DIMENSIONS[name](each) for name in split) for each in answers if _is(each, named)}
    return [{**named, **dict(zip(split, values, strict=True))} for values in sorted(found)]


def _named(values: Mapping[str, str]) -> list[Document]:
    names = ((name.lower(), value) for name, value in values.items())
    return [{"name": {"value": name, "localizedValue": name}, "value": value} for name, value in names]


def _is(answered: ScoredRequest, wanted: Mapping[str, str]) -> bool:
    return all(value == "*" or _DIMENSIONS[name](answered).lower() == value.lower() for name, value in wanted.items())


def _filter(text: str) -> dict[str, str]:
    """Returns the values of dimensions by name, from `deployment eq 'a' and statusCode eq '*'`.

    Raises:
        ArmError: 400, the filter has another form.
    """
    found = {}
    for part in re.split(r"\band\b", text, flags=re.I) if text.strip() else []:
        match = _FILTER.fullmatch(part)
        if not match or match[1].lower() not in _NAMES:
            message = f"The $filter {text!r} is not understood by this twin: dimension eq 'value', joined by and."
            raise ArmError(400, "BadRequest", message)
        found[_NAMES[match[1].lower()]] = match[2]
    return found


def dimensions_of(given: Sequence[Mapping[str, Any]], name: str, values: str) -> dict[str, str]:
    """Returns the dimensions of a rule by name, from a list with a name and values each; only the first value is
    used.
    """
    found = {_NAMES.get(str(each[name]).lower(), ""): str((each.get(values) or ["*"])[0]) for each in given}
    return {dimension: value for dimension, value in found.items() if dimension}


def _timespan(text: str) -> tuple[float, float]:
    """Returns begin and end of a time span; of the last hour if it is empty.

    Raises:
        ArmError: 400, it can't be parsed.
    """
    now = time.time()
    try:
        if "/" in text:
            begin, end = (datetime.fromisoformat(part.strip().replace("Z", "+00:00")) for part in text.split("/"))
            return _seconds(begin), _seconds(end)
        return now - (seconds(text, "timespan") if text else 3600.0), now
    except ValueError:
        raise ArmError(400, "BadRequest", f"The timespan {text!r} is not begin/end in ISO 8601.") from None


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
