"""Monitoring of the stack: logs and metrics, audit of data and keys, notifications, and the budget."""

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_azure_native import applicationinsights, monitor, operationalinsights

from llmops_kit.infra.targets.azure.providers.budget import MonthlyBudget
from llmops_kit.infra.targets.azure.resources.context import AzureRecords, AzureStack, as_scope


def declare_records(stack: AzureStack) -> AzureRecords:
    """Declare the Log Analytics workspace and its Application Insights, unless existing ones are given."""
    ids, given = stack.inventory, stack.azure
    if given.metrics:
        return AzureRecords(ids.logs_id, given.metrics, [])
    made = [] if given.logs else [_logs(stack)]
    logs: pulumi.Input[str] = made[0].id if made else given.logs
    component = applicationinsights.Component(
        ids.metrics.logical,
        resource_name_=ids.metrics.name,
        kind="web",
        application_type=applicationinsights.ApplicationType.WEB,
        ingestion_mode=applicationinsights.IngestionMode.LOG_ANALYTICS,
        workspace_resource_id=logs,
        **stack.placed,
        opts=stack.options(ids.metrics, protect=True),
    )
    return AzureRecords(logs, component.id, [*made, component])


def declare_action_group(stack: AzureStack) -> pulumi.Output[str]:
    """Declare the action group that alerts and the budget notify; returns its resource id."""
    entry = stack.inventory.action_group
    group = monitor.ActionGroup(
        entry.logical,
        action_group_name=entry.name,
        location="global",
        enabled=True,
        group_short_name="llmops",
        email_receivers=[
            monitor.MicrosoftCommonEmailReceiverArgs(
                name=f"email-{number}", email_address=email, use_common_alert_schema=True
            )
            for number, email in enumerate(stack.azure.budget.emails)
        ],
        **stack.grouped,
        opts=stack.options(entry),
    )
    return group.id


def declare_budget(stack: AzureStack, action_group: pulumi.Input[str]) -> None:
    """Declare the monthly budget of the resource group: notifies at 80 % spent, and if the forecast exceeds it.

    In an existing group it counts resources with the stack's tag.
    """
    wanted = stack.azure.budget
    if not wanted.monthly_usd:
        return

    def notification(kind: str, percent: int) -> dict[str, Any]:
        return {
            "enabled": True,
            "operator": "GreaterThan",
            "threshold": percent,
            "thresholdType": kind,
            "contactEmails": wanted.emails,
            "contactGroups": [action_group],
        }

    properties: dict[str, Any] = {
        "category": "Cost",
        "amount": wanted.monthly_usd,
        "timeGrain": "Monthly",
        "notifications": {"spent": notification("Actual", 80), "forecast": notification("Forecasted", 100)},
    }
    ids = stack.inventory
    if stack.azure.resource_group:
        tags = [{"tags": {"name": tag, "operator": "In", "values": [value]}} for tag, value in ids.tags.items()]
        properties["filter"] = {"and": tags}
    budget = f"{ids.group.id}/providers/Microsoft.Consumption/budgets/{ids.names.of('budget')}"
    MonthlyBudget(ids.names.logical("budget"), stack.location, stack.after(), budget=budget, properties=properties)


def declare_diagnostics(
    stack: AzureStack,
    targets: Mapping[str, pulumi.Input[str]],
    records: AzureRecords,
    archive: pulumi.Input[str] | None,
) -> None:
    """Declare the audit logs of resources: who read, wrote, signed, pulled.

    Args:
        stack: that is declared.
        targets: ids of its resources, once they exist.
        records: destination of the logs.
        archive: id of the account that gets a copy of them; None: none does.
    """
    for resource in stack.inventory.audited:
        entry = stack.inventory.diagnostics(resource)
        monitor.DiagnosticSetting(
            entry.logical,
            name=entry.name,
            resource_uri=pulumi.Output.from_input(targets[resource]).apply(as_scope),
            workspace_id=records.logs,
            storage_account_id=archive,
            logs=[
                monitor.DiagnosticsLogSettingsArgs(
                    enabled=True, category_group="audit" if resource != "workspace" else "allLogs"
                )
            ],
            opts=stack.options(entry),
        )


def _logs(stack: AzureStack) -> operationalinsights.Workspace:
    entry = stack.inventory.logs
    return operationalinsights.Workspace(
        entry.logical,
        workspace_name=entry.name,
        sku=operationalinsights.WorkspaceSkuArgs(name=operationalinsights.WorkspaceSkuNameEnum.PER_GB2018),
        retention_in_days=stack.azure.log_retention_days,
        features=operationalinsights.WorkspaceFeaturesArgs(disable_local_auth=True),
        **stack.placed,
        opts=stack.options(entry, protect=True),
    )
