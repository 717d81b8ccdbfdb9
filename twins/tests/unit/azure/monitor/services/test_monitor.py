"""Autoscale settings, action groups, alert rules and diagnostic settings."""

import copy
from pathlib import Path
from typing import Any

import pytest

from llmops_twins.azure.monitor.services import monitor, operationalinsights
from llmops_twins.azure.services import managedidentity
from tests.support.clouds.azure import Arm, local_twin

PLACE = {"location": "westeurope"}
GROUP_V, ALERT_V, SCALE_V, DIAGNOSTICS_V, QUERY_V = (
    "2023-01-01",
    "2018-03-01",
    "2022-10-01",
    "2021-05-01-preview",
    "2023-12-01",
)


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    made = Arm(local_twin(tmp_path, operationalinsights.install, managedidentity.install, monitor.install))
    path = f"{made.group()}/providers/Microsoft.OperationalInsights/workspaces/logs"
    assert made.put(path, "2023-09-01", PLACE).status == 201
    made.pass_time()
    return made


def insights(arm: Arm, type_: str) -> str:
    return f"{arm.group()}/providers/Microsoft.Insights/{type_}"


def workspace(arm: Arm) -> str:
    return f"{arm.group()}/providers/Microsoft.OperationalInsights/workspaces/logs"


def autoscale(arm: Arm) -> dict[str, Any]:
    trigger = {
        "metricName": "CpuUtilizationPercentage",
        "metricResourceUri": workspace(arm),
        "timeGrain": "PT1M",
        "statistic": "Average",
        "timeWindow": "PT5M",
        "timeAggregation": "Average",
        "operator": "GreaterThan",
        "threshold": 70,
    }
    action = {"direction": "Increase", "type": "ChangeCount", "value": "1", "cooldown": "PT5M"}
    profile = {
        "name": "default",
        "capacity": {"minimum": "1", "maximum": "3", "default": "1"},
        "rules": [{"metricTrigger": trigger, "scaleAction": action}],
    }
    return {**PLACE, "properties": {"enabled": True, "targetResourceUri": workspace(arm), "profiles": [profile]}}


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with a value at a path such as `properties.profiles.0.name`."""
    found = copy.deepcopy(document)
    *way, last = path.split(".")
    place: Any = found
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[last] = value
    return found


def test_autoscale(arm: Arm) -> None:
    path = f"{insights(arm, 'autoscaleSettings')}/scale"
    answer = arm.put(path, SCALE_V, autoscale(arm))
    assert (answer.status, answer.body["properties"]["name"]) == (201, "scale")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("properties.targetResourceUri", "/subscriptions/s/nothing"),
        ("properties.profiles", []),
        ("properties.profiles.0.capacity.minimum", "0"),
        ("properties.profiles.0.capacity.minimum", "2"),
        ("properties.profiles.0.capacity.maximum", "many"),
        ("properties.profiles.0.rules.0.metricTrigger.timeWindow", "PT1M"),
        ("properties.profiles.0.rules.0.metricTrigger.timeGrain", "soon"),
        ("properties.profiles.0.rules.0.metricTrigger.operator", "Above"),
        ("properties.profiles.0.rules.0.scaleAction.cooldown", "PT30S"),
        ("properties.profiles.0.rules.0.scaleAction.direction", "Up"),
    ],
)
def test_autoscale_is_refused(arm: Arm, path: str, value: Any) -> None:
    answer = arm.put(f"{insights(arm, 'autoscaleSettings')}/scale", SCALE_V, changed(autoscale(arm), path, value))
    assert answer.status == 400, answer


def action_group(**properties: Any) -> dict[str, Any]:
    return {"location": "Global", "properties": {"groupShortName": "alerts", "enabled": True, **properties}}


def metric_alert(arm: Arm) -> dict[str, Any]:
    criterion = {
        "criterionType": "StaticThresholdCriterion",
        "name": "errors",
        "metricName": "RequestsPerMinute",
        "timeAggregation": "Average",
        "operator": "GreaterThan",
        "threshold": 1,
    }
    kind = "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"
    return {
        "location": "global",
        "properties": {
            "severity": 2,
            "enabled": True,
            "scopes": [workspace(arm)],
            "evaluationFrequency": "PT1M",
            "windowSize": "PT5M",
            "criteria": {"odata.type": kind, "allOf": [criterion]},
        },
    }


def test_an_alert_tells_an_action_group_that_is_there(arm: Arm) -> None:
    group, alert = f"{insights(arm, 'actionGroups')}/people", f"{insights(arm, 'metricAlerts')}/errors"
    wanted = changed(metric_alert(arm), "properties.actions", [{"actionGroupId": group}])
    assert arm.put(alert, ALERT_V, wanted).code == "BadRequest"
    mail = [{"name": "me", "emailAddress": "me@example.com"}]
    made = arm.put(group, GROUP_V, action_group(emailReceivers=mail))
    assert made.body["properties"]["emailReceivers"][0]["status"] == "Enabled"
    assert arm.put(alert, ALERT_V, wanted).status == 201
    moved = changed(wanted, "properties.scopes", [arm.group()])
    assert arm.put(alert, ALERT_V, moved).status == 400


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("location", "westeurope"),
        ("properties.severity", 5),
        ("properties.windowSize", "PT2M"),
        ("properties.evaluationFrequency", "PT1H"),
        ("properties.criteria.odata.type", 1),
    ],
)
def test_an_alert_is_refused(arm: Arm, path: str, value: Any) -> None:
    document = metric_alert(arm)
    if path.endswith("odata.type"):
        document["properties"]["criteria"]["odata.type"] = value
    else:
        document = changed(document, path, value)
    assert arm.put(f"{insights(arm, 'metricAlerts')}/errors", ALERT_V, document).status == 400


@pytest.mark.parametrize(
    "properties",
    [
        {"groupShortName": "longer than twelve"},
        {"emailReceivers": [{"name": "a", "emailAddress": "nobody"}]},
        {"emailReceivers": [{"name": n, "emailAddress": "a@b"} for n in ("a", "A")]},
    ],
)
def test_an_action_group_is_refused(arm: Arm, properties: dict[str, Any]) -> None:
    assert arm.put(f"{insights(arm, 'actionGroups')}/people", GROUP_V, action_group(**properties)).status == 400


def test_a_query_rule_keeps_its_scopes(arm: Arm) -> None:
    criterion = {"query": "t", "timeAggregation": "Count", "operator": "GreaterThan", "threshold": 0}
    rule = {
        **PLACE,
        "properties": {
            "severity": 1,
            "scopes": [workspace(arm)],
            "evaluationFrequency": "PT5M",
            "windowSize": "PT5M",
            "criteria": {"allOf": [criterion]},
        },
    }
    path = f"{insights(arm, 'scheduledQueryRules')}/quality"
    assert arm.put(path, QUERY_V, rule).status == 201
    assert arm.put(path, QUERY_V, changed(rule, "properties.scopes", [arm.group()])).code == "BadRequest"
    assert arm.put(path, QUERY_V, changed(rule, "properties.windowSize", "PT1M")).status == 400


def test_a_diagnostic_setting_outlives_its_resource(arm: Arm) -> None:
    identity = f"{arm.group()}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/somebody"
    arm.put(identity, "2023-01-31", PLACE)
    setting = f"{identity}/providers/Microsoft.Insights/diagnosticSettings/all"
    logs = [{"categoryGroup": "allLogs", "enabled": True}]
    body = {"properties": {"workspaceId": workspace(arm), "logs": logs}}
    assert arm.put(setting, DIAGNOSTICS_V, {"properties": {"logs": logs}}).code == "BadRequest"
    assert arm.put(setting, DIAGNOSTICS_V, body).status == 200
    assert arm.put(f"{setting}2", DIAGNOSTICS_V, body).code == "Conflict"
    arm.delete(identity, "2023-01-31")
    assert arm.get(setting, DIAGNOSTICS_V).status == 200
    assert arm.delete(setting, DIAGNOSTICS_V).status == 200
