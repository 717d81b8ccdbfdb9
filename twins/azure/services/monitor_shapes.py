"""The bodies of Microsoft.Insights' kinds (twins/azure/bodies.py says how shapes are written).

https://learn.microsoft.com/rest/api/monitor/
"""

_STATISTICS = ("Average", "Min", "Max", "Sum", "Count")
_AGGREGATIONS = ("Average", "Minimum", "Maximum", "Total", "Count", "Last")
_OPERATORS = ("Equals", "NotEquals", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual")
_RULE = {
    "metricTrigger!": {
        "metricName!": "string",
        "metricNamespace": "string",
        "metricResourceUri!": "string",
        "metricResourceLocation": "string",
        "timeGrain!": "string",
        "statistic!": _STATISTICS,
        "timeWindow!": "string",
        "timeAggregation!": _AGGREGATIONS,
        "operator!": _OPERATORS,
        "threshold!": "number",
        "dimensions": [{"DimensionName!": "string", "Operator!": ("Equals", "NotEquals"), "Values!": ["string"]}],
        "dividePerInstance": "boolean",
    },
    "scaleAction!": {
        "direction!": ("None", "Increase", "Decrease"),
        "type!": ("ChangeCount", "PercentChangeCount", "ExactCount", "ServiceAllowedNextValue"),
        "value": "string",
        "cooldown!": "string",
    },
}
AUTOSCALE = {
    "name": "string",
    "enabled": "boolean",
    "targetResourceUri": "string",
    "targetResourceLocation": "string",
    "profiles!": [
        {
            "name!": "string",
            "capacity!": {"minimum!": "string", "maximum!": "string", "default!": "string"},
            "rules!": [_RULE],
            "fixedDate": "any",
            "recurrence": "any",
        }
    ],
    "notifications": [
        {
            "operation!": ("Scale",),
            "email": {
                "sendToSubscriptionAdministrator": "boolean",
                "sendToSubscriptionCoAdministrators": "boolean",
                "customEmails": ["string"],
            },
            "webhooks": [{"serviceUri": "string", "properties": {"*": "string"}}],
        }
    ],
    "predictiveAutoscalePolicy": {
        "scaleMode!": ("Disabled", "ForecastOnly", "Enabled"),
        "scaleLookAheadTime": "string",
    },
}
ACTION_GROUP = {
    "groupShortName!": "string",
    "enabled!": "boolean",
    "emailReceivers": [
        {"name!": "string", "emailAddress!": "string", "useCommonAlertSchema": "boolean", "status-": ""}
    ],
    "smsReceivers": [{"name!": "string", "countryCode!": "string", "phoneNumber!": "string", "status-": ""}],
    "webhookReceivers": [{"name!": "string", "serviceUri!": "string", "*": "any"}],
    "azureFunctionReceivers": [{"name!": "string", "*": "any"}],
    "armRoleReceivers": [{"name!": "string", "roleId!": "string", "useCommonAlertSchema": "boolean"}],
    **dict.fromkeys(
        (
            "itsmReceivers",
            "azureAppPushReceivers",
            "automationRunbookReceivers",
            "voiceReceivers",
            "logicAppReceivers",
            "eventHubReceivers",
            "incidentReceivers",
        ),
        "any",
    ),
}
METRIC_ALERT = {
    "description": "string",
    "severity!": "integer",
    "enabled!": "boolean",
    "scopes!": ["string"],
    "evaluationFrequency!": "string",
    "windowSize!": "string",
    "targetResourceType": "string",
    "targetResourceRegion": "string",
    "criteria!": {
        "odata.type!": (
            "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria",
            "Microsoft.Azure.Monitor.MultipleResourceMultipleMetricCriteria",
            "Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria",
        ),
        "allOf": [
            {
                "criterionType!": ("StaticThresholdCriterion", "DynamicThresholdCriterion"),
                "name!": "string",
                "metricName!": "string",
                "metricNamespace": "string",
                "timeAggregation!": ("Average", "Count", "Minimum", "Maximum", "Total"),
                "operator!": (
                    "Equals",
                    "GreaterThan",
                    "GreaterThanOrEqual",
                    "LessThan",
                    "LessThanOrEqual",
                    "GreaterOrLessThan",
                ),
                "threshold": "number",
                "dimensions": [{"name!": "string", "operator!": ("Include", "Exclude"), "values!": ["string"]}],
                "skipMetricValidation": "boolean",
                "*": "any",
            }
        ],
        "*": "any",
    },
    "autoMitigate": "boolean",
    "actions": [{"actionGroupId!": "string", "webHookProperties": {"*": "string"}}],
    "lastUpdatedTime-": "",
    "isMigrated-": "",
}
QUERY_RULE = {
    "description": "string",
    "displayName": "string",
    "severity": "integer",
    "enabled": "boolean",
    "scopes": ["string"],
    "evaluationFrequency": "string",
    "windowSize": "string",
    "overrideQueryTimeRange": "string",
    "targetResourceTypes": ["string"],
    "criteria": {
        "allOf!": [
            {
                "query!": "string",
                "timeAggregation!": ("Count", "Average", "Minimum", "Maximum", "Total"),
                "metricMeasureColumn": "string",
                "resourceIdColumn": "string",
                "dimensions": [{"name!": "string", "operator!": ("Include", "Exclude"), "values!": ["string"]}],
                "operator!": ("Equals", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual"),
                "threshold!": "number",
                "failingPeriods": {"numberOfEvaluationPeriods": "integer", "minFailingPeriodsToAlert": "integer"},
                "*": "any",
            }
        ]
    },
    "muteActionsDuration": "string",
    "actions": {"actionGroups": ["string"], "customProperties": {"*": "string"}, "actionProperties": {"*": "string"}},
    "checkWorkspaceAlertsStorageConfigured": "boolean",
    "skipQueryValidation": "boolean",
    "autoMitigate": "boolean",
    "ruleResolveConfiguration": "any",
    "resolveConfiguration": "any",
    "publicNetworkAccess": "string",
    "createdWithApiVersion-": "",
    "isLegacyLogAnalyticsRule-": "",
    "isWorkspaceAlertsStorageConfigured-": "",
}
_RETENTION = {"enabled!": "boolean", "days!": "integer"}
SINKS = (
    "workspaceId",
    "storageAccountId",
    "eventHubAuthorizationRuleId",
    "marketplacePartnerId",
    "serviceBusRuleId",
)
DIAGNOSTICS = {
    **dict.fromkeys((*SINKS, "eventHubName", "logAnalyticsDestinationType"), "string"),
    "logs": [{"category": "string", "categoryGroup": "string", "enabled!": "boolean", "retentionPolicy": _RETENTION}],
    "metrics": [{"category": "string", "timeGrain": "string", "enabled!": "boolean", "retentionPolicy": _RETENTION}],
}
