"""Alarms on a math expression: the rules of PutMetricAlarm's Metrics, and their value in a window of time.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDataQuery.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-limits.html
"""

import re

from llmops_twins.aws.calls import AwsApiError, not_judged
from llmops_twins.aws.service_documents import Document
from llmops_twins.aws.services.cloudwatch.expressions import evaluate
from llmops_twins.aws.services.cloudwatch.metrics import in_window, metric_of, statistic
from llmops_twins.aws.twin import AccountTwin

_ID = re.compile(r"[a-z][A-Za-z0-9_]*")
_MOST = 10  # maximum number of metrics, and of expressions, of an alarm
_NOT_WITH_METRICS = ("Namespace", "Dimensions", "Period", "Unit", "Statistic", "ExtendedStatistic")


def period_of(alarm: Document) -> int:
    """Returns the period of an alarm in AWS seconds; that of its metrics if it has an expression."""
    own = [query["MetricStat"]["Period"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
    return own[0] if own else alarm.get("Period") or 60


def refuse_bad_metrics(given: Document) -> None:
    """Refuses an alarm on an expression that breaks one of its rules.

    Unsure (60 %): the words; that each is refused is documented.

    Raises:
        AwsApiError: says which rule is broken.
    """
    queries: list[Document] = given["Metrics"]
    if wrong := [name for name in _NOT_WITH_METRICS if given.get(name)]:
        raise AwsApiError("ValidationError", f"{', '.join(wrong)} can't be specified with Metrics.")
    _refuse_bad_queries(queries)
    stats = [query["MetricStat"] for query in queries if "MetricStat" in query]
    if not stats or len({stat["Period"] for stat in stats}) > 1:
        raise AwsApiError("ValidationError", "The metrics of an alarm must have the same Period.")
    for stat in stats:
        statistic([[0, 1, 0, 0, 0]], stat["Stat"])
        if stat["Period"] < 60 or stat["Period"] % 60:
            raise not_judged("alarms on an expression of metrics of high resolution")
    if not evaluate_all(queries, dict.fromkeys((query["Id"] for query in queries if "MetricStat" in query), 1.0))[1]:
        raise AwsApiError("ValidationError", "The result of an expression must be a single time series.")


def value_of(twin: AccountTwin, region: str, alarm: Document, begin: float, end: float) -> float | None:
    """Returns the value of an alarm's expression in a window; None if there is none."""
    values = {}
    for query in alarm["Metrics"]:
        if stat := query.get("MetricStat"):
            points = in_window(twin, region, metric_of(stat["Metric"]), begin, end)
            values[query["Id"]] = statistic(points, stat["Stat"])
    return evaluate_all(alarm["Metrics"], values)[0]


def evaluate_all(queries: list[Document], values: dict[str, float | None]) -> tuple[float | None, bool]:
    """Returns the value of the query that returns data, and whether it is that of a time series.

    An expression may name one that stands after it. Unsure (60 %): the words for a circle.
    """
    known = dict(values)
    waiting = {query["Id"]: query["Expression"] for query in queries if "Expression" in query}
    series = dict.fromkeys(values, True)
    while waiting:
        ready = [id_ for id_, text in waiting.items() if not _names_in(text) & (waiting.keys() - {id_})]
        if not ready or any(id_ in _names_in(waiting[id_]) for id_ in ready):
            raise AwsApiError("ValidationError", "The expressions of an alarm depend on each other in a circle.")
        for id_ in ready:
            found = evaluate(waiting.pop(id_), known)
            known[id_], series[id_] = found.value, found.is_series
    (watched,) = (query["Id"] for query in queries if query.get("ReturnData", True))
    return known[watched], series[watched]


def _refuse_bad_queries(queries: list[Document]) -> None:
    """Refuses an invalid list of queries.

    Unsure (60 %): the words; that each is refused is documented.
    """
    ids = [query["Id"] for query in queries]
    if len(set(ids)) < len(ids) or not all(_ID.fullmatch(id_) for id_ in ids):
        text = "The Ids of Metrics must be unique, begin with a lowercase letter, and have letters, digits and _ only."
        raise AwsApiError("ValidationError", text)
    for member in ("MetricStat", "Expression"):
        if sum(member in query for query in queries) > _MOST:
            raise AwsApiError("ValidationError", f"An alarm can have at most {_MOST} Metrics with {member}.")
    if any(("MetricStat" in query) == ("Expression" in query) for query in queries):
        raise AwsApiError("ValidationError", "Exactly one of MetricStat and Expression must be specified.")
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDataQuery.html
    if sum(query.get("ReturnData", True) for query in queries) != 1:
        raise AwsApiError("ValidationError", "Exactly one element of the metrics list should return data.")


def _names_in(expression: str) -> set[str]:
    return set(re.findall(r"\b[a-z]\w*", expression))
