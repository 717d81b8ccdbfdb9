"""Monitoring of one endpoint: its logs, and alerts on errors, latency and quality.

Azure ML does not roll back on alerts: llmops_kit.infra.targets.azure.providers.traffic does, with the same limits.
"""

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi_azure_native import monitor

from llmops_kit.infra.targets.azure.deployment_metrics import LATENCY_P90
from llmops_kit.infra.targets.azure.inventory import AzureEntry
from llmops_kit.infra.targets.azure.resources.context import AzureRecords, AzureStack, SharedResources, as_scope

LOGS = ("AmlOnlineEndpointConsoleLog", "AmlOnlineEndpointTrafficLog", "AmlOnlineEndpointEventLog")
"""Categories, and tables in Log Analytics: output of containers, requests, events of containers.

https://learn.microsoft.com/azure/azure-monitor/reference/supported-logs/microsoft-machinelearningservices-workspaces-onlineendpoints-logs
"""
_EVERY = "PT5M"
_QUALITY_WINDOW = "PT15M"  # servers ask their golden prompts every five minutes
_CRITERIA = "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"


def declare_alerts(
    stack: AzureStack, name: str, shared: SharedResources, endpoint: pulumi.Input[str]
) -> Sequence[pulumi.Resource]:
    """Declare the monitoring of an endpoint, whichever version serves: also during a rollout, and after a rollback.

    Args:
        stack: that is declared.
        name: the endpoint in the settings.
        shared: the resources that it depends on.
        endpoint: its resource id, once it exists.
    """
    ids, limits = stack.inventory, stack.resolved.alarms
    logs = monitor.DiagnosticSetting(
        ids.endpoint_logs(name).logical,
        name=ids.endpoint_logs(name).name,
        resource_uri=pulumi.Output.from_input(endpoint).apply(as_scope),
        workspace_id=shared.records.logs,
        logs=[monitor.DiagnosticsLogSettingsArgs(category=category, enabled=True) for category in LOGS],
        opts=stack.options(ids.endpoint_logs(name)),
    )
    called = ids.endpoint(name).name
    errors = _query_alert(stack, name, shared, "errors", _errors_query(called), "GreaterThan", limits.error_rate)
    quality = _query_alert(stack, name, shared, "quality", _quality_query(called), "LessThan", limits.quality)
    return [logs, errors, _latency_alert(stack, name, shared, endpoint), quality]


def _errors_query(endpoint: str) -> str:
    """Returns the query for the share of failed requests: not the caller's mistakes; Azure answers 424 for some of a
    container's failures.

    https://learn.microsoft.com/azure/azure-monitor/reference/tables/amlonlineendpointtrafficlog
    """
    return f"""{LOGS[1]}
| where EndpointName =~ '{endpoint}'
| extend Status = iff(coalesce(toint(ModelStatusCode), 0) > 0, toint(ModelStatusCode), toint(ResponseCode))
| summarize Failed = countif(Status >= 500 or Status in (408, 424)), All = count()
| where All > 0
| project Value = todouble(Failed) / All"""


def _quality_query(endpoint: str) -> str:
    """Returns the query for the lowest share of golden prompts that a server of the endpoint answered as expected.

    A deployment that was rolled back counts until the next `up` removes it.

    https://learn.microsoft.com/azure/azure-monitor/reference/tables/amlonlineendpointconsolelog
    """
    return f"""{LOGS[0]}
| where EndpointName =~ '{endpoint}' and Message has 'quality'
| extend Said = parse_json(Message)
| where Said.event == 'quality'
| summarize Value = min(todouble(Said.score))
| where isnotnull(Value)"""


def _query_alert(
    stack: AzureStack, name: str, shared: SharedResources, what: str, query: str, operator: str, threshold: float
) -> monitor.ScheduledQueryRule:
    """Declares a log alert: https://learn.microsoft.com/azure/azure-monitor/alerts/alerts-types#log-alerts"""
    condition = monitor.ConditionArgs(
        query=query,
        time_aggregation="Minimum" if operator == "LessThan" else "Maximum",
        metric_measure_column="Value",
        operator=operator,
        threshold=threshold,
        failing_periods=monitor.ConditionFailingPeriodsArgs(
            min_failing_periods_to_alert=1, number_of_evaluation_periods=1
        ),
    )
    return declare_log_alert(
        stack,
        stack.inventory.alert(name, what),
        condition,
        shared.records,
        shared.action_group,
        description=f"{what} of endpoint {name}",
        severity=1,
        window_size=_QUALITY_WINDOW if what == "quality" else _EVERY,
        auto_mitigate=True,
    )


def declare_log_alert(
    stack: AzureStack,
    entry: AzureEntry,
    condition: monitor.ConditionArgs,
    records: AzureRecords,
    action_group: pulumi.Input[str],
    *,
    window_size: str = _EVERY,
    **others: Any,
) -> monitor.ScheduledQueryRule:
    """Declare an alert on a query of logs, which is asked every five minutes.

    Args:
        stack: that is declared.
        entry: the alert in the inventory.
        condition: when it fires.
        records: where the logs are.
        action_group: is notified.
        window_size: time that a query covers, as ISO 8601.
        others: further arguments of the rule.
    """
    return monitor.ScheduledQueryRule(
        entry.logical,
        rule_name=entry.name,
        kind="LogAlert",
        enabled=True,
        scopes=[records.logs],
        evaluation_frequency=_EVERY,
        window_size=window_size,
        criteria=monitor.ScheduledQueryRuleCriteriaArgs(all_of=[condition]),
        skip_query_validation=True,  # a table exists only once it has a row
        actions=monitor.ActionsArgs(action_groups=[action_group]),
        **others,
        **stack.placed,
        opts=stack.options(entry),
    )


def _latency_alert(
    stack: AzureStack, name: str, shared: SharedResources, endpoint: pulumi.Input[str]
) -> monitor.MetricAlert:
    criterion = monitor.MetricCriteriaArgs(
        criterion_type="StaticThresholdCriterion",
        name="latency",
        metric_namespace="Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
        metric_name=LATENCY_P90,
        operator="GreaterThan",
        threshold=stack.resolved.alarms.latency_seconds * 1000,
        time_aggregation="Average",
    )
    entry = stack.inventory.alert(name, "latency")
    return monitor.MetricAlert(
        entry.logical,
        rule_name=entry.name,
        location="global",
        description=f"latency of endpoint {name}",
        enabled=True,
        severity=2,
        scopes=[endpoint],
        evaluation_frequency=_EVERY,
        window_size=_EVERY,
        criteria=monitor.MetricAlertSingleResourceMultipleMetricCriteriaArgs(odata_type=_CRITERIA, all_of=[criterion]),
        auto_mitigate=True,
        actions=[monitor.MetricAlertActionArgs(action_group_id=shared.action_group)],
        **stack.grouped,
        opts=stack.options(entry),
    )
