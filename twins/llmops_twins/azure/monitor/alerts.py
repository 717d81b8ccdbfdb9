"""Alert rules over metrics, and over queries of logs. No notifications are sent.

https://learn.microsoft.com/azure/azure-monitor/alerts/alerts-overview
https://learn.microsoft.com/rest/api/monitor/alertsmanagement/alerts/get-all
"""

import logging
import time
import uuid
from typing import Any

from llmops_twins.azure.ml.ml_documents import seconds
from llmops_twins.azure.monitor import kql, tables
from llmops_twins.azure.monitor.autoscale import COMPARISONS, SHORTEST_SECONDS
from llmops_twins.azure.monitor.insights import Insights, dimensions_of
from llmops_twins.azure.monitor.kql_parse import parse
from llmops_twins.azure.monitor.services.monitor import METRIC_ALERTS, QUERY_RULES
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document, Reply, timestamp
from llmops_twins.azure.protocol.ids import Id, key
from llmops_twins.azure.telemetry.metering import RequestMeter
from llmops_twins.azure.twin import TenantTwin

_STATE = "alerts"
_LOOK_SECONDS = 0.25
_KEPT = 500
_PROVIDER = "Microsoft.AlertsManagement"
_AGGREGATES = {"Minimum": min, "Maximum": max, "Total": sum, "Average": lambda v: sum(v) / len(v), "Count": len}
log = logging.getLogger("llmops_twins.azure")


class AlertRules:
    """Evaluates the rules of a subscription, with the twin's lock held."""

    def __init__(self, twin: TenantTwin, insights: Insights, meter: RequestMeter) -> None:
        self._twin = twin
        self._insights = insights
        self._meter = meter
        self._next: dict[str, float] = {}
        twin.every(_LOOK_SECONDS, self._look)
        twin.action(_PROVIDER, "alerts", self._list, f"{_PROVIDER}/alerts/read", "GET")

    def _look(self) -> None:
        for rule in [each for each in self._twin.resources.values() if each["type"] in (METRIC_ALERTS, QUERY_RULES)]:
            if not rule["properties"].get("enabled", True) or time.monotonic() < self._next.get(key(rule["id"]), 0.0):
                continue
            pause = self._twin.scaled(seconds(rule["properties"]["evaluationFrequency"], "evaluationFrequency"))
            self._next[key(rule["id"])] = time.monotonic() + max(_LOOK_SECONDS, pause)
            try:
                self.evaluate(rule)
            except (ArmError, kql.QueryError) as e:
                log.warning("alert rule %s: %s", rule["name"], e)

    def evaluate(self, rule: Document) -> None:
        """Fires or resolves a rule's alert."""
        met, value = self._of_metric(rule) if rule["type"] == METRIC_ALERTS else self._of_query(rule)
        last = next((each for each in reversed(self._all()) if key(each["rule"]) == key(rule["id"])), None)
        fired = last is not None and last["condition"] == "Fired"
        if met and not fired:
            self._all().append(
                {
                    "id": str(uuid.uuid4()),
                    "rule": rule["id"],
                    "condition": "Fired",
                    "began": timestamp(),
                    "ended": None,
                    "value": value,
                    "severity": rule["properties"].get("severity", 3),
                    "target": (rule["properties"].get("scopes") or [""])[0],
                }
            )
            del self._all()[:-_KEPT]
            self._twin.changed()
        elif not met and fired and last and rule["properties"].get("autoMitigate", True):
            last |= {"condition": "Resolved", "ended": timestamp()}
            self._twin.changed()

    def _of_metric(self, rule: Document) -> tuple[bool, float | None]:
        """Returns whether all criteria of a metric rule are met on one of its scopes, and the first value there."""
        properties, end = rule["properties"], time.time()
        window = seconds(properties["windowSize"], "windowSize")
        begin = end - max(SHORTEST_SECONDS, self._twin.scaled(window))
        for scope in properties["scopes"]:
            values = []
            for criterion in properties["criteria"].get("allOf") or []:
                wanted = dimensions_of(criterion.get("dimensions") or [], "name", "values")
                values.append(self._insights.value(scope, criterion["metricName"], begin, end, wanted))
                if values[-1] is None or not _met(criterion, values[-1]):
                    break
            else:
                return bool(values), values[0] if values else None
        return False, None

    def _of_query(self, rule: Document) -> tuple[bool, float | None]:
        """Returns whether all conditions of a query rule are met on one of its scopes, and the first value there."""
        for scope in rule["properties"]["scopes"]:
            values = [self._value(rule, each, scope) for each in rule["properties"]["criteria"].get("allOf") or []]
            conditions = rule["properties"]["criteria"].get("allOf") or []
            met = [v is not None and _met(c, v) for c, v in zip(conditions, values, strict=True)]
            if met and all(met):
                return True, values[0]
        return False, None

    def _value(self, rule: Document, condition: dict[str, Any], scope: str) -> float | None:
        """Returns a condition's value: the aggregate of a column of the query's rows (None without values), or the
        number of rows.
        """
        end = time.time()
        window = seconds(rule["properties"]["windowSize"], "windowSize")
        if parse(condition["query"]).table != tables.CONSOLE:  # containers write lines in real time
            window = max(SHORTEST_SECONDS, self._twin.scaled(window))

        def table(name: str) -> kql.Table:
            return tables.table(self._twin, self._meter, scope, name, end - window, end + 1)

        _, rows = kql.run(condition["query"], table)
        column = condition.get("metricMeasureColumn")
        if not column:
            return float(len(rows))
        values = [row[column] for row in rows if isinstance(row.get(column), int | float)]
        return float(_AGGREGATES[condition["timeAggregation"]](values)) if values else None

    def _all(self) -> list[Document]:
        return self._twin.state.setdefault(_STATE, [])

    def _list(self, _twin: TenantTwin, call: ArmCall, _document: Any) -> Reply:
        scope = key(Id.parse(call.path).scope)
        found = [each for each in self._all() if key(each["rule"]).startswith(scope)]
        return Reply(200, {"value": [self._shown(each) for each in reversed(found)]})

    def _shown(self, alert: Document) -> Document:
        parsed = Id.parse(alert["rule"])
        name = parsed.name
        return {
            "id": f"/subscriptions/{self._twin.subscription}/providers/{_PROVIDER}/alerts/{alert['id']}",
            "name": name,
            "type": f"{_PROVIDER}/alerts",
            "properties": {
                "essentials": {
                    "alertRule": alert["rule"],
                    "severity": f"Sev{alert['severity']}",
                    "monitorCondition": alert["condition"],
                    "alertState": "New",
                    "signalType": "Metric" if parsed.type == METRIC_ALERTS else "Log",
                    "targetResource": alert["target"],
                    "startDateTime": alert["began"],
                    "lastModifiedDateTime": alert["ended"] or alert["began"],
                    "monitorConditionResolvedDateTime": alert["ended"],
                },
                "context": {"value": alert["value"]},
            },
        }


def _met(condition: dict[str, Any], value: float) -> bool:
    return COMPARISONS[condition["operator"]](value, float(condition["threshold"]))
