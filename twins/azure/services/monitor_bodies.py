"""The bodies of Microsoft.Insights' kinds, and what Azure refuses of them beyond their declarations.

https://learn.microsoft.com/rest/api/monitor/
"""

from twins.azure.bodies import Body

_OPERATORS = ("Equals", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual")
_AGGREGATIONS = ("Average", "Minimum", "Maximum", "Total", "Count")
_TRIGGER = "properties.profiles[].rules[].metricTrigger"
_ACTION = "properties.profiles[].rules[].scaleAction"
AUTOSCALE = Body(
    "Microsoft.Insights/autoscaleSettings",
    values={
        f"{_TRIGGER}.statistic": ("Average", "Min", "Max", "Sum", "Count"),
        f"{_TRIGGER}.timeAggregation": (*_AGGREGATIONS, "Last"),
        f"{_TRIGGER}.operator": (*_OPERATORS, "NotEquals"),
        f"{_TRIGGER}.dimensions[].Operator": ("Equals", "NotEquals"),
        f"{_ACTION}.direction": ("None", "Increase", "Decrease"),
        f"{_ACTION}.type": ("ChangeCount", "PercentChangeCount", "ExactCount", "ServiceAllowedNextValue"),
        "properties.notifications[].operation": ("Scale",),
        "properties.predictiveAutoscalePolicy.scaleMode": ("Disabled", "ForecastOnly", "Enabled"),
    },
)
ACTION_GROUP = Body("Microsoft.Insights/actionGroups")
_CRITERIA = "properties.criteria.allOf[]"
METRIC_ALERT = Body(
    "Microsoft.Insights/metricAlerts",
    values={
        f"{_CRITERIA}.timeAggregation": _AGGREGATIONS,
        f"{_CRITERIA}.operator": (*_OPERATORS, "GreaterOrLessThan"),
        f"{_CRITERIA}.dimensions[].operator": ("Include", "Exclude"),
    },
    required=("properties.actions[].actionGroupId",),
)
QUERY_RULE = Body(
    "Microsoft.Insights/scheduledQueryRules",
    values={
        f"{_CRITERIA}.timeAggregation": _AGGREGATIONS,
        f"{_CRITERIA}.operator": _OPERATORS,
        f"{_CRITERIA}.dimensions[].operator": ("Include", "Exclude"),
    },
    # Of rules that alert: the declaration has those of kind LogToMetric too.
    required=(
        *(f"properties.{name}" for name in ("scopes", "criteria", "evaluationFrequency", "windowSize", "severity")),
        "properties.criteria.allOf",
        *(f"{_CRITERIA}.{name}" for name in ("query", "timeAggregation", "operator", "threshold")),
    ),
)
SINKS = ("workspaceId", "storageAccountId", "eventHubAuthorizationRuleId", "marketplacePartnerId", "serviceBusRuleId")
DIAGNOSTICS = Body("Microsoft.Insights/diagnosticSettings")
