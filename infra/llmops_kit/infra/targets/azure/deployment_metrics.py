"""Metrics of a deployment since a time, from Azure Monitor and from the quality reports in its servers' logs.

https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-machinelearningservices-workspaces-onlineendpoints-metrics
"""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from llmops_kit.clouds.azure.session import arm_of
from llmops_kit.core.rollout import Counts
from llmops_kit.infra.targets.azure.online import deployment_id
from llmops_kit.infra.targets.dynamic import Properties

REQUESTS, LATENCY_P90 = "RequestsPerMinute", "RequestLatency_P90"
_LINES = 2000
_MOST_SERIES = 1000  # Azure returns ten series by default and drops the others, which may be the errors
_TIMED_OUT, _MODEL_FAILED = 408, 424  # of Azure itself, where no container answered


def counts(props: Properties, deployment: str, since: datetime) -> Counts:
    """Returns requests, errors and latency of a deployment since then, and the last result of its golden prompts."""
    requests = errors = 0.0
    wanted = f"deployment eq '{deployment}' and statusCode eq '*' and modelStatusCode eq '*'"
    for series in _series(props, REQUESTS, wanted, since):
        number = sum(point.get("average") or 0.0 for point in series["data"])
        requests += number
        errors += number if failed(**series["dimensions"]) else 0.0
    slow = [
        point["average"]
        for series in _series(props, LATENCY_P90, f"deployment eq '{deployment}'", since)
        for point in series["data"]
        if point.get("average") is not None
    ]
    return Counts(round(requests), round(errors), max(slow) / 1000 if slow else None, _quality(props, deployment))


def failed(statuscode: str = "", modelstatuscode: str = "", **_: str) -> bool:
    """Return whether a response is an error of the deployment, not of its caller.

    Azure answers 424 for any status of a container but 200, so a caller's mistake shows only in the container's status.
    https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes
    """
    status = modelstatuscode if modelstatuscode.isdigit() and int(modelstatuscode) else statuscode
    return status.isdigit() and (int(status) >= 500 or int(status) in (_TIMED_OUT, _MODEL_FAILED))


def _series(props: Properties, metric: str, wanted: str, since: datetime) -> list[dict[str, Any]]:
    """Returns the time series of a metric of the endpoint: {dimensions, data}.

    https://learn.microsoft.com/rest/api/monitor/metrics/list
    """
    query = {
        "metricnames": metric,
        "aggregation": "Average",
        "interval": "PT1M",
        "timespan": f"{_stamp(since)}/{_stamp(datetime.now(UTC))}",
        "$filter": wanted,
        "top": _MOST_SERIES,
    }
    id_ = f"{props['endpoint']}/providers/Microsoft.Insights/metrics?{urlencode(query)}"
    answer = arm_of(props).find(id_) or {"value": []}
    return [
        {
            "dimensions": {m["name"]["value"].lower(): m["value"] for m in series.get("metadatavalues", [])},
            "data": series["data"],
        }
        for value in answer["value"]
        for series in value["timeseries"]
    ]


def _quality(props: Properties, deployment: str) -> float | None:
    """Returns the last share of golden prompts that a server of the deployment logged.

    https://learn.microsoft.com/rest/api/azureml/online-deployments/get-logs
    """
    id_, wanted = deployment_id(props["endpoint"], deployment), {"containerType": "InferenceServer", "tail": _LINES}
    answer = arm_of(props).post(id_, "getLogs", wanted) or {}
    for line in reversed(str(answer.get("content") or "").splitlines()):
        said = _document(line)
        if said.get("event") == "quality":
            return float(said["score"])
    return None


def _document(line: str) -> dict[str, Any]:
    """Returns the JSON object that a line ends with; Azure may put a time before it."""
    try:
        found = json.loads(line[line.index("{") :])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
