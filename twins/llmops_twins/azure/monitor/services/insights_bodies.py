"""The bodies of Microsoft.Insights' kinds, and Azure's rules beyond their declarations.

https://learn.microsoft.com/rest/api/monitor/
"""

from typing import Any

from llmops_twins.azure.protocol.body_checks import TEXT, Body

_TEXTS = {"type": "object", "additionalProperties": TEXT}


def _object(**members: Any) -> dict[str, Any]:
    return {"type": "object", "properties": members, "additionalProperties": False}


AUTOSCALE = Body("Microsoft.Insights/autoscaleSettings")
ACTION_GROUP = Body(
    "Microsoft.Insights/actionGroups",
    required=("properties.groupShortName", "properties.enabled"),
    # The client's models are those of 2023-01-01. The members that 2024-10-01-preview adds are azure-native's:
    more={
        "identity": _object(type=TEXT, userAssignedIdentities={"type": "object", "additionalProperties": {}}),
        "properties.incidentReceivers": {
            "type": "array",
            "items": _object(
                name=TEXT,
                incidentManagementService=TEXT,
                connection=_object(id=TEXT, name=TEXT),
                mappings=_TEXTS,
            ),
        },
        **{
            f"properties.{receivers}[].managedIdentity": TEXT
            for receivers in (
                "automationRunbookReceivers",
                "azureFunctionReceivers",
                "eventHubReceivers",
                "logicAppReceivers",
                "webhookReceivers",
            )
        },
    },
)
METRIC_ALERT = Body("Microsoft.Insights/metricAlerts", required=("properties.actions[].actionGroupId",))
_CRITERIA = "properties.criteria.allOf[]"
QUERY_RULE = Body(
    "Microsoft.Insights/scheduledQueryRules",
    # For rules that alert; the declaration covers the kind LogToMetric too.
    required=(
        *(f"properties.{name}" for name in ("scopes", "criteria", "evaluationFrequency", "windowSize", "severity")),
        "properties.criteria.allOf",
        *(f"{_CRITERIA}.{name}" for name in ("query", "timeAggregation", "operator", "threshold")),
    ),
    # The client's models are those of 2023-12-01. The members that 2025-01-01-preview adds are azure-native's:
    more={
        f"{_CRITERIA}.alertSensitivity": TEXT,
        f"{_CRITERIA}.criterionType": TEXT,
        f"{_CRITERIA}.ignoreDataBefore": TEXT,
        f"{_CRITERIA}.minRecurrenceCount": {"type": "number"},
    },
)
SINKS = ("workspaceId", "storageAccountId", "eventHubAuthorizationRuleId", "marketplacePartnerId", "serviceBusRuleId")
DIAGNOSTICS = Body("Microsoft.Insights/diagnosticSettings")
