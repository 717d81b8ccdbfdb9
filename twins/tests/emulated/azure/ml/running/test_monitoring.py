"""Metrics, logs, alerts and autoscale of deployments that really answer."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Any

import pytest

from llmops_kit.local_runtime.process_images import build
from llmops_twins.azure.protocol.calls import Document
from tests.support.servers.echo import echo_source
from twins.tests.support.azure_hosts import LOCATION
from twins.tests.support.azure_ml import VERSION, Ml, fetch, running_ml, wait

LOGS_VERSION = "2023-09-01"


@pytest.fixture(scope="module")
def ml(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ml]:
    with running_ml(tmp_path_factory.mktemp("twin")) as made:
        made.environment("echo", build(echo_source(tmp_path_factory.mktemp("echo"))))
        made.endpoint("chat")
        said = {"SAYS": json.dumps({"event": "quality", "score": 0.5, "sha256": "abc"})}
        made.deployment("chat", "blue", f"{made.id}/environments/echo/versions/1", environmentVariables=said)
        made.endpoint("chat", traffic={"blue": 100})
        yield made


@pytest.fixture(scope="module")
def workspace(ml: Ml) -> Document:
    """A Log Analytics workspace that the endpoint sends its logs to."""
    path = f"{ml.group}/providers/Microsoft.OperationalInsights/workspaces/kit-logs"
    assert ml.arm.put(path, LOGS_VERSION, {"location": LOCATION, "properties": {}}).status in (200, 201, 202)
    logs = [
        {"category": category, "enabled": True}
        for category in ("AmlOnlineEndpointConsoleLog", "AmlOnlineEndpointTrafficLog")
    ]
    setting = f"{endpoint(ml)}/providers/Microsoft.Insights/diagnosticSettings/logs"
    body = {"properties": {"workspaceId": path, "logs": logs}}
    answer = ml.arm.put(setting, "2021-05-01-preview", body)
    assert answer.status == 200, answer.body
    return ml.arm.get(path, LOGS_VERSION).body


def endpoint(ml: Ml) -> str:
    return f"{ml.id}/onlineEndpoints/chat"


def metrics(ml: Ml, name: str, wanted: str = "", resource: str = "") -> list[Document]:
    now = datetime.now(UTC)
    span = "/".join(f"{each:%Y-%m-%dT%H:%M:%SZ}" for each in (now - timedelta(minutes=5), now + timedelta(minutes=1)))
    query = {"metricnames": name, "timespan": span, "interval": "PT1M", "aggregation": "Average"}
    query |= {"$filter": wanted} if wanted else {}
    path = f"{resource or endpoint(ml)}/providers/Microsoft.Insights/metrics"
    answer = ml.arm.call("GET", path, "2024-02-01", None, **query)
    assert answer.status == 200, answer.body
    return answer.body["value"][0]["timeseries"]


def total(series: Document) -> float:
    return sum(point.get("average") or 0 for point in series["data"])


def test_requests_are_counted_by_what_they_were_answered(ml: Ml) -> None:
    for body in (b"version", b"version", b"fail"):
        ml.ask("chat", body=body)
    ml.ask("chat", token="")
    wanted = "deployment eq 'blue' and statusCode eq '*' and modelStatusCode eq '*'"
    series = wait(lambda: each if len(each := metrics(ml, "RequestsPerMinute", wanted)) == 2 else None)
    found = {tuple(sorted((m["name"]["value"], m["value"]) for m in s["metadatavalues"])): total(s) for s in series}
    good = (("deployment", "blue"), ("modelstatuscode", "200"), ("statuscode", "200"))
    bad = (("deployment", "blue"), ("modelstatuscode", "500"), ("statuscode", "424"))
    assert (found[good], found[bad]) == (2, 1)
    assert total(metrics(ml, "RequestsPerMinute")[0]) == 4
    assert 0 < total(metrics(ml, "RequestLatency_P90", "deployment eq 'blue'")[0]) < 60_000
    assert total(metrics(ml, "DeploymentCapacity", resource=f"{endpoint(ml)}/deployments/blue")[0]) >= 1


def test_metrics_that_are_not_there(ml: Ml) -> None:
    path = f"{endpoint(ml)}/providers/Microsoft.Insights/metrics"
    answer = ml.arm.call("GET", path, "2024-02-01", None, metricnames="Happiness")
    assert (answer.status, answer.code) == (400, "BadRequest")


def query(ml: Ml, workspace: Document, text: str) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {ml.token('https://api.loganalytics.io')}"}
    url = f"{ml.twin.url}/v1/workspaces/{workspace['properties']['customerId']}/query"
    status, body, _ = fetch(url, json.dumps({"query": text}).encode(), headers, ml.hosts.context())
    return status, json.loads(body)


def test_logs_are_queried(ml: Ml, workspace: Document) -> None:
    ml.ask("chat")
    text = "AmlOnlineEndpointConsoleLog | where Message has 'version' | project DeploymentName, Message"
    status, answer = wait(lambda: found if (found := query(ml, workspace, text))[1]["tables"][0]["rows"] else None)
    assert (status, answer["tables"][0]["rows"][0]) == (200, ["blue", "version 1 starts"])
    text = "AmlOnlineEndpointTrafficLog | summarize Number = count() by ResponseCode | where ResponseCode == '200'"
    assert query(ml, workspace, text)[1]["tables"][0]["rows"][0][1] >= 1
    status, answer = query(ml, workspace, "AmlOnlineEndpointTrafficLog | render timechart")
    assert status == 400
    assert "the operator 'render' is not understood" in answer["error"]["details"][0]["message"]


def rule(workspace: Document, text: str, operator: str, threshold: float) -> Document:
    condition = {
        "query": text,
        "timeAggregation": "Minimum" if operator == "LessThan" else "Maximum",
        "metricMeasureColumn": "Value",
        "operator": operator,
        "threshold": threshold,
        "failingPeriods": {"minFailingPeriodsToAlert": 1, "numberOfEvaluationPeriods": 1},
    }
    properties = {
        "enabled": True,
        "severity": 1,
        "scopes": [workspace["id"]],
        "evaluationFrequency": "PT5M",
        "windowSize": "PT15M",
        "criteria": {"allOf": [condition]},
        "autoMitigate": True,
    }
    return {"location": LOCATION, "kind": "LogAlert", "properties": properties}


def alerts(ml: Ml, name: str) -> list[str]:
    """The conditions of a rule's alerts, the newest first."""
    path = f"/subscriptions/{ml.twin.subscription}/providers/Microsoft.AlertsManagement/alerts"
    found = ml.arm.call("GET", path, "2019-05-05-preview").body["value"]
    return [each["properties"]["essentials"]["monitorCondition"] for each in found if each["name"] == name]


def test_alerts_on_quality_errors_and_latency(ml: Ml, workspace: Document) -> None:
    quality = (
        f"AmlOnlineEndpointConsoleLog\n| where _ResourceId =~ '{endpoint(ml)}' and Message has '\"quality\"'"
        "\n| extend Said = parse_json(Message)\n| where Said.event == 'quality' and Said.sha256 == 'abc'"
        "\n| summarize Value = min(todouble(Said.score))\n| where isnotnull(Value)"
    )
    errors = (
        f"AmlOnlineEndpointTrafficLog\n| where _ResourceId =~ '{endpoint(ml)}'"
        "\n| extend Status = iff(coalesce(toint(ModelStatusCode), 0) > 0, toint(ModelStatusCode), toint(ResponseCode))"
        "\n| summarize Value = todouble(countif(Status >= 500 or Status in (408, 424))) / count()"
    )
    place = f"{ml.group}/providers/Microsoft.Insights"
    for name, body in {
        "quality": rule(workspace, quality, "LessThan", 1.0),
        "errors": rule(workspace, errors, "GreaterThan", 0.5),
    }.items():
        answer = ml.arm.put(f"{place}/scheduledQueryRules/{name}", "2025-01-01-preview", body)
        assert answer.status in (200, 201), answer.body
    criterion = {
        "criterionType": "StaticThresholdCriterion",
        "name": "latency",
        "metricName": "RequestLatency_P90",
        "operator": "GreaterThan",
        "threshold": 0.0001,
        "timeAggregation": "Average",
    }
    latency = {
        "enabled": True,
        "severity": 2,
        "scopes": [endpoint(ml)],
        "evaluationFrequency": "PT5M",
        "windowSize": "PT5M",
        "criteria": {
            "odata.type": "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria",
            "allOf": [criterion],
        },
    }
    body = {"location": "global", "properties": latency}
    answer = ml.arm.put(f"{place}/metricAlerts/latency", "2018-03-01", body)
    assert answer.status in (200, 201), answer.body

    wait(lambda: True if alerts(ml, "quality") == ["Fired"] else None)

    def failing() -> bool | None:
        for _ in range(3):
            ml.ask("chat", body=b"fail")
        return True if alerts(ml, "errors")[:1] == ["Fired"] and alerts(ml, "latency")[:1] == ["Fired"] else None

    wait(failing)
    wait(lambda: True if alerts(ml, "errors")[:1] == ["Resolved"] else None)


def test_a_deployment_is_scaled_by_its_load(ml: Ml) -> None:
    def scaling(operator: str, threshold: float, direction: str) -> Document:
        return {
            "metricTrigger": {
                "metricName": "ConnectionsActive",
                "metricResourceUri": endpoint(ml),
                "operator": operator,
                "threshold": threshold,
                "statistic": "Average",
                "timeAggregation": "Average",
                "timeGrain": "PT1M",
                "timeWindow": "PT5M",
                "dividePerInstance": True,
            },
            "scaleAction": {"direction": direction, "type": "ChangeCount", "value": "1", "cooldown": "PT5M"},
        }

    profile = {
        "name": "load",
        "capacity": {"minimum": "1", "maximum": "2", "default": "1"},
        "rules": [scaling("GreaterThan", 1.5, "Increase"), scaling("LessThan", 0.5, "Decrease")],
    }
    properties = {"enabled": True, "targetResourceUri": f"{endpoint(ml)}/deployments/blue", "profiles": [profile]}
    path = f"{ml.group}/providers/Microsoft.Insights/autoscaleSettings/load"
    answer = ml.arm.put(path, "2021-05-01-preview", {"location": LOCATION, "properties": properties})
    assert answer.status in (200, 201), answer.body

    stop = Event()

    def load() -> None:
        while not stop.is_set():
            ml.ask("chat", "/stream?n=40&pause=0.05", None)

    threads = [Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    deployment = "/onlineEndpoints/chat/deployments/blue"
    wait(lambda: True if ml.get(deployment)["sku"]["capacity"] == 2 else None)
    key = endpoint(ml).lower()

    def instances() -> int:
        states = ml.running.deployments.fleet.describe()
        return sum(each["state"] == "in service" for each in states if each["endpoint"] == key.rpartition("/")[2])

    wait(lambda: True if instances() == 2 else None)
    stop.set()
    for thread in threads:
        thread.join()
    wait(lambda: True if ml.get(deployment)["sku"]["capacity"] == 1 else None)
    wait(lambda: True if instances() == 1 else None)
    assert ml.arm.get(f"{ml.id}{deployment}", VERSION).body["properties"]["provisioningState"] in (
        "Succeeded",
        "Updating",
    )
