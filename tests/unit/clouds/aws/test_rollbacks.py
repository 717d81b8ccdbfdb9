"""Which reasons of a rollback are a model version's fault, in SageMaker's words, and by the history of its alarms."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llmops_kit.clouds.aws.rollbacks import version_fault

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
BEGAN = NOW - timedelta(minutes=20)
ALARMS = ("llmops-dev-chat-5xx-1a2b3c4d", "llmops-dev-chat-quality-5e6f7a8b")
UNHEALTHY = (
    "The primary container for production variant main did not pass the ping health check. Please check CloudWatch "
    "logs for this endpoint."
)
# https://github.com/aws/deep-learning-containers, test/vllm: "Verbatim message from a real … failure"
NO_CAPACITY = (
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. Please retry using a "
    "different ML instance type or after some time. Consider configuring InstancePools in your EndpointConfig with "
    "multiple instance types for priority-based fallback to improve capacity availability."
)
NOT_ITS_FAULT = [
    "",
    NO_CAPACITY,
    "Requested image 123456789012.dkr.ecr.eu-central-1.amazonaws.com/serving@sha256:55 not found.",
    'Could not find model data at s3://store/models/1/. Please ensure that the role "r" exists',
    "The deployment did not complete within MaximumExecutionTimeoutInSeconds.",
    "Request to service failed. If failure persists after retry, contact customer support.",
]


class Alarms:
    """CloudWatch's two calls, which moto lacks: (alarm, minutes after the update began, state) is the history."""

    def __init__(self, *history: tuple[str, float, str], watches_since: float = 0) -> None:
        self._history = history
        self._watches_since = watches_since

    def describe_alarms(self, AlarmNames: list[str]) -> dict[str, Any]:  # noqa: N803
        since = BEGAN + timedelta(minutes=self._watches_since)
        return {"MetricAlarms": [{"AlarmName": n, "AlarmConfigurationUpdatedTimestamp": since} for n in AlarmNames]}

    def get_paginator(self, operation: str) -> "Alarms":
        assert operation == "describe_alarm_history"
        return self

    def paginate(self, *, AlarmName: str, HistoryItemType: str, StartDate: datetime) -> Iterator[dict[str, Any]]:  # noqa: N803
        assert HistoryItemType == "StateUpdate"
        for alarm, minutes, state in self._history:
            if alarm == AlarmName and BEGAN + timedelta(minutes=minutes) >= StartDate:
                data = {"version": "1.0", "oldState": {}, "newState": {"stateValue": state}}
                yield {"AlarmHistoryItems": [{"AlarmName": alarm, "HistoryData": json.dumps(data)}]}


def endpoint(reason: str) -> dict[str, Any]:
    alarms = [{"AlarmName": name} for name in ALARMS]
    watched = {"LastDeploymentConfig": {"AutoRollbackConfiguration": {"Alarms": alarms}}}
    return {**watched, **({"FailureReason": reason} if reason else {})}


@pytest.mark.parametrize("reason", NOT_ITS_FAULT)
def test_what_is_not_known_to_be_its_fault_blames_no_version(reason: str) -> None:
    quiet = Alarms((ALARMS[0], -5, "ALARM"), (ALARMS[0], 1, "OK"))
    assert version_fault(endpoint(reason), quiet, BEGAN) == ""
    assert version_fault({"FailureReason": reason}, quiet, BEGAN) == "", "an endpoint whose deployment is not told"


@pytest.mark.parametrize("reason", [UNHEALTHY, f"The alarm {ALARMS[1]} was triggered during the deployment."])
def test_a_failed_health_check_or_an_alarm_by_name_blames_the_version(reason: str) -> None:
    assert version_fault(endpoint(reason), Alarms(), BEGAN) == reason


@pytest.mark.parametrize("reason", ["", "The deployment was rolled back."])
def test_an_alarm_that_went_off_during_the_update_blames_the_version(reason: str) -> None:
    told = version_fault(endpoint(reason), Alarms((ALARMS[1], 12, "ALARM"), (ALARMS[1], 19, "OK")), BEGAN)
    assert f"alarm {ALARMS[1]} went off" in told
    assert reason in told


def test_an_alarm_that_went_off_while_it_watched_the_old_version_blames_nobody() -> None:
    """An update away from a version that fails begins while its alarm still watches that one."""
    assert version_fault(endpoint(NO_CAPACITY), Alarms((ALARMS[0], 1, "ALARM"), watches_since=2), BEGAN) == ""
