"""What is seen of the stack: logs and metrics, who does what with data and keys, who is told, and the budget."""

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_azure_native import applicationinsights, monitor, operationalinsights

from infra import names
from infra.targets.azure.budget import Budget
from infra.targets.azure.here import Here, as_scope
from infra.targets.azure.session import look_up

_LOGS_API = "2023-09-01"
_METRICS_API = "2020-02-02"
_GROUP_API = "2024-10-01-preview"
_DIAGNOSTICS_API = "2021-05-01-preview"


@dataclass(frozen=True)
class Records:
    """Where logs and metrics are."""

    logs: pulumi.Input[str]  # resource id of the Log Analytics workspace
    metrics: pulumi.Input[str]  # resource id of the Application Insights component
    plain_logs: str
    plain_metrics: str
    ready: list[pulumi.Resource]


def provide_records(here: Here) -> Records:
    """Declare the Log Analytics workspace and the Application Insights on it, but for what is given."""
    given = here.settings.azure
    if given.metrics:
        found = look_up(here.place, given.metrics, _METRICS_API, "metrics")["properties"]
        logs = str(found["WorkspaceResourceId"])
        return Records(logs, given.metrics, logs, given.metrics, [])
    if given.logs:
        look_up(here.place, given.logs, _LOGS_API, "logs")
    own = here.id("Microsoft.OperationalInsights/workspaces", here.names.of("logs"))
    made = [] if given.logs else [_logs(here, own)]
    logs: pulumi.Input[str] = made[0].id if made else given.logs
    id_ = here.id("Microsoft.Insights/components", here.names.of("metrics"))
    logical = names.kept("metrics")  # the workspace stands on it
    component = applicationinsights.Component(
        logical,
        resource_name_=id_.rpartition("/")[2],
        resource_group_name=here.group,
        location=here.location,
        kind="web",
        application_type=applicationinsights.ApplicationType.WEB,
        ingestion_mode=applicationinsights.IngestionMode.LOG_ANALYTICS,
        workspace_resource_id=logs,
        tags=here.all_tags,
        opts=here.adopted("azure-native:applicationinsights:Component", logical, id_, _METRICS_API, protect=True),
    )
    return Records(logs, component.id, given.logs or own, id_, [*made, component])


def provide_action_group(here: Here) -> pulumi.Output[str]:
    """Declare whom alerts and the budget tell; its resource id."""
    id_ = here.id("Microsoft.Insights/actionGroups", here.names.of("alerts"))
    group = monitor.ActionGroup(
        "alerts",
        action_group_name=id_.rpartition("/")[2],
        resource_group_name=here.group,
        location="global",
        enabled=True,
        group_short_name="llmops",
        email_receivers=[
            monitor.MicrosoftCommonEmailReceiverArgs(
                name=f"email-{number}", email_address=email, use_common_alert_schema=True
            )
            for number, email in enumerate(here.settings.azure.budget.emails)
        ],
        tags=here.all_tags,
        opts=here.adopted("azure-native:monitor:ActionGroup", "alerts", id_, _GROUP_API),
    )
    return group.id


def provide_budget(here: Here, action_group: pulumi.Input[str]) -> None:
    """Declare the monthly budget of the resource group: told at 80 % spent, and when the forecast passes all of it.

    In a group that is given it counts what carries the stack's tag.
    """
    wanted = here.settings.azure.budget
    if not wanted.monthly_usd:
        return

    def told(kind: str, percent: int) -> dict[str, Any]:
        return {
            "enabled": True,
            "operator": "GreaterThan",
            "threshold": percent,
            "thresholdType": kind,
            "contactEmails": wanted.emails,
            "contactGroups": [action_group],
        }

    scope = f"/subscriptions/{here.caller.subscription}/resourceGroups/{here.group_name}"
    properties: dict[str, Any] = {
        "category": "Cost",
        "amount": wanted.monthly_usd,
        "timeGrain": "Monthly",
        "notifications": {"spent": told("Actual", 80), "forecast": told("Forecasted", 100)},
    }
    if here.settings.azure.resource_group:
        properties["filter"] = _of_the_stack(here)
    budget = f"{scope}/providers/Microsoft.Consumption/budgets/{here.names.of('budget')}"
    Budget("budget", here.place, budget=budget, properties=properties)


def provide_diagnostics(here: Here, thing: str, target: pulumi.Input[str], plain: str, records: Records) -> None:
    """Declare what is recorded of a thing: who read, wrote, signed, pulled.

    Args:
        here: the stack's place.
        thing: its word in logical names.
        target: its resource id.
        plain: the same, known before it is made.
        records: where it is recorded.
    """
    logical, name = f"diagnostics-{thing}", here.names.of("diagnostics")
    monitor.DiagnosticSetting(
        logical,
        name=name,
        resource_uri=pulumi.Output.from_input(target).apply(as_scope),
        workspace_id=records.logs,
        logs=[
            monitor.DiagnosticsLogSettingsArgs(
                enabled=True, category_group="audit" if thing != "workspace" else "allLogs"
            )
        ],
        opts=here.adopted(
            "azure-native:monitor:DiagnosticSetting",
            logical,
            f"{plain}/providers/Microsoft.Insights/diagnosticSettings/{name}",
            _DIAGNOSTICS_API,
        ),
    )


def _logs(here: Here, id_: str) -> operationalinsights.Workspace:
    logical = names.kept("logs")  # metrics stand on it, and the workspace on those
    return operationalinsights.Workspace(
        logical,
        workspace_name=id_.rpartition("/")[2],
        resource_group_name=here.group,
        location=here.location,
        sku=operationalinsights.WorkspaceSkuArgs(name=operationalinsights.WorkspaceSkuNameEnum.PER_GB2018),
        retention_in_days=here.settings.azure.log_retention_days,
        features=operationalinsights.WorkspaceFeaturesArgs(disable_local_auth=True),
        tags=here.all_tags,
        opts=here.adopted("azure-native:operationalinsights:Workspace", logical, id_, _LOGS_API, protect=True),
    )


def _of_the_stack(here: Here) -> dict[str, Any]:
    return {"and": [{"tags": {"name": tag, "operator": "In", "values": [value]}} for tag, value in here.tags.items()]}
