"""Decides whether a model version caused the rollback of an endpoint's update.

SageMaker rolls an update back for many reasons, and most are not a version's fault: no capacity for the second fleet, a
role, an image that can't be pulled. A version is the cause if its container failed the health check, or if an alarm of
the rollout went off. SageMaker's documentation has the message of the first (multi-container-direct.html), but not that
of the second; and the reason may be empty once the endpoint is in service again (terraform-provider-aws #49020). So the
alarms' history counts as well. Importing this module loads no SDK.

https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html
https://docs.aws.amazon.com/sagemaker/latest/dg/multi-container-direct.html
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_UNHEALTHY = "did not pass the ping health check"


def version_fault(endpoint: Mapping[str, Any], cloudwatch: Any, since: datetime) -> str:
    """Returns the evidence that the version caused an endpoint's rollback; empty if there is none.

    Args:
        endpoint: response of DescribeEndpoint after the rollback.
        cloudwatch: client of the endpoint's account and region.
        since: when the update began; alarms that went off before don't count.
    """
    reason: str = endpoint.get("FailureReason", "")
    alarms = _alarms_of(endpoint)
    if _UNHEALTHY in reason or any(alarm in reason for alarm in alarms):
        return reason
    if rang := [alarm for alarm in alarms if _went_off(cloudwatch, alarm, since)]:
        return f"alarm {', '.join(rang)} went off" + (f" ({reason})" if reason else "")
    return ""


def _alarms_of(endpoint: Mapping[str, Any]) -> list[str]:
    """Returns the names of the alarms that watched the endpoint's last deployment."""
    rollback = endpoint.get("LastDeploymentConfig", {}).get("AutoRollbackConfiguration", {})
    return [alarm["AlarmName"] for alarm in rollback.get("Alarms", [])]


def _went_off(cloudwatch: Any, alarm: str, since: datetime) -> bool:
    """Returns whether an alarm went to ALARM since a time, and since its last configuration:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmHistory.html
    """
    found = cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    pages = cloudwatch.get_paginator("describe_alarm_history").paginate(
        AlarmName=alarm,
        HistoryItemType="StateUpdate",
        StartDate=max([since, *(each["AlarmConfigurationUpdatedTimestamp"] for each in found)]),
    )
    changes = (json.loads(item["HistoryData"]) for page in pages for item in page["AlarmHistoryItems"])
    return any(change["newState"]["stateValue"] == "ALARM" for change in changes)
