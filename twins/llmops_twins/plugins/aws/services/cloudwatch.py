"""CloudWatch: metric alarms."""

from typing import Any

from llmops_twins.plugins.aws.calls import ResourceOperation
from llmops_twins.plugins.aws.kinds import AwsResourceKind
from llmops_twins.plugins.aws.translate import map_of

_METRIC = {"metricName": "MetricName", "namespace": "Namespace"}
_STAT = {"period": "Period", "stat": "Stat", "unit": "Unit"}
_QUERY = {"id": "Id", "expression": "Expression", "label": "Label", "period": "Period", "accountId": "AccountId"}


class CloudWatchAlarm(AwsResourceKind):
    """An alarm on a metric, or on an expression: its properties have a metric and its statistic in one."""

    def parameters(self, work: ResourceOperation, operation: str) -> dict[str, Any]:
        found = super().parameters(work, operation)
        if queries := work.inputs.get("metricQueries"):
            found["Metrics"] = [_to_query(query) for query in queries]
        return found

    def properties_of(self, work: ResourceOperation, answer: dict[str, Any]) -> dict[str, Any]:
        found = super().properties_of(work, answer)
        if queries := answer.get("Metrics"):
            found["metricQueries"] = [_from_query(query) for query in queries]
        return found

    def readable(self, work: ResourceOperation) -> set[str]:
        return super().readable(work) | {"metricQueries"}


def _to_query(given: dict[str, Any]) -> dict[str, Any]:
    """Returns a MetricDataQuery. The plugin always sends ReturnData, whose default is another than the API's."""
    found = {**_renamed(given, _QUERY), "ReturnData": bool(given.get("returnData"))}
    if metric := given.get("metric"):
        dimensions = [{"Name": n, "Value": v} for n, v in (metric.get("dimensions") or {}).items()]
        of = {**_renamed(metric, _METRIC), **({"Dimensions": dimensions} if dimensions else {})}
        found["MetricStat"] = {"Metric": of, **_renamed(metric, _STAT)}
    for whole in (found, found.get("MetricStat", {})):
        if "Period" in whole:
            whole["Period"] = int(whole["Period"])
    return found


def _from_query(answer: dict[str, Any]) -> dict[str, Any]:
    found = {name: answer[key] for name, key in _QUERY.items() if key in answer}
    if stat := answer.get("MetricStat"):
        metric = stat["Metric"]
        of = {name: metric[key] for name, key in _METRIC.items() if key in metric}
        of |= {name: stat[key] for name, key in _STAT.items() if key in stat}
        if metric.get("Dimensions"):
            of["dimensions"] = map_of(metric["Dimensions"])
        found["metric"] = of
    return {**found, "returnData": answer.get("ReturnData", True)}


def _renamed(given: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {key: given[name] for name, key in names.items() if given.get(name) not in (None, "")}
