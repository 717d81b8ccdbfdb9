"""Log groups and events; metric filters that make metrics, and the alarm on them."""

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from twins.tests.emulated.aws.services.waiting import eventually
from twins.tests.support.aws import REGION, RunningTwin

GROUP = "/aws/sagemaker/Endpoints/chat"


@pytest.fixture
def logs(twin: RunningTwin) -> Any:
    """A client, of a twin with one log group and stream."""
    client = twin.client("logs")
    if client.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]:
        client.delete_log_group(logGroupName=GROUP)
    client.create_log_group(logGroupName=GROUP)
    client.create_log_stream(logGroupName=GROUP, logStreamName="main/1")
    return client


def test_quality_line_becomes_a_metric_and_rings_the_alarm(twin: RunningTwin, logs: Any) -> None:
    cloudwatch = twin.client("cloudwatch")
    transformation = {
        "metricName": "Score",
        "metricNamespace": "LLMOps/test",
        "metricValue": "$.score",
        "dimensions": {"Sha256": "$.sha256"},
    }
    pattern = '{ $.event = "quality" }'
    logs.put_metric_filter(
        logGroupName=GROUP, filterName="quality", filterPattern=pattern, metricTransformations=[transformation]
    )
    metric = {"Namespace": "LLMOps/test", "MetricName": "Score", "Dimensions": [{"Name": "Sha256", "Value": "abc"}]}
    cloudwatch.put_metric_alarm(
        AlarmName="quality",
        **metric,
        Statistic="Minimum",
        Period=300,
        EvaluationPeriods=1,
        Threshold=0.8,
        ComparisonOperator="LessThanThreshold",
        TreatMissingData="notBreaching",
    )
    _say(logs, {"event": "other", "score": 0.1, "sha256": "abc"}, {"event": "quality", "score": 0.5, "sha256": "abc"})

    def rang() -> bool:
        history = cloudwatch.describe_alarm_history(AlarmName="quality")["AlarmHistoryItems"]
        return any(item["HistorySummary"].endswith("to ALARM") for item in history)

    eventually(rang)
    eventually(lambda: cloudwatch.describe_alarms(AlarmNames=["quality"])["MetricAlarms"][0]["StateValue"] == "OK")
    assert [each["Dimensions"] for each in cloudwatch.list_metrics(Namespace="LLMOps/test")["Metrics"]] == [
        metric["Dimensions"]
    ]
    [shown] = logs.describe_metric_filters(logGroupName=GROUP)["metricFilters"]
    assert shown["metricTransformations"] == [transformation]
    assert logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"][0]["metricFilterCount"] == 1


def test_a_default_value_stands_where_nothing_matches(twin: RunningTwin, logs: Any) -> None:
    transformation = {"metricName": "Errors", "metricNamespace": "LLMOps/d", "metricValue": "1", "defaultValue": 0.0}
    logs.put_metric_filter(
        logGroupName=GROUP, filterName="errors", filterPattern="ERROR", metricTransformations=[transformation]
    )
    _say(logs, {"all": "well"})
    _say(logs, {"all": "ERROR"})
    now = time.time()
    [point] = twin.client("cloudwatch").get_metric_statistics(
        Namespace="LLMOps/d",
        MetricName="Errors",
        StartTime=now - 86400,
        EndTime=now + 86400,
        Period=86400 * 7,
        Statistics=["Sum", "SampleCount"],
    )["Datapoints"]
    assert (point["Sum"], point["SampleCount"]) == (1.0, 2.0)


def test_events_are_filtered_by_the_pattern_and_paged(logs: Any) -> None:
    _say(logs, *[{"n": number} for number in range(5)])
    found = logs.filter_log_events(logGroupName=GROUP, filterPattern="{ $.n > 2 }")["events"]
    assert [json.loads(event["message"])["n"] for event in found] == [3, 4]
    pages = list(logs.get_paginator("filter_log_events").paginate(logGroupName=GROUP, PaginationConfig={"PageSize": 2}))
    assert [json.loads(event["message"])["n"] for page in pages for event in page["events"]] == [0, 1, 2, 3, 4]
    first = logs.get_log_events(logGroupName=GROUP, logStreamName="main/1", startFromHead=True, limit=3)
    rest = logs.get_log_events(logGroupName=GROUP, logStreamName="main/1", nextToken=first["nextForwardToken"])
    assert len(first["events"]) + len(rest["events"]) == 5
    end = logs.get_log_events(logGroupName=GROUP, logStreamName="main/1", nextToken=rest["nextForwardToken"])
    assert end["nextForwardToken"] == rest["nextForwardToken"]


@pytest.mark.parametrize(
    ("call", "arguments", "code"),
    [
        ("put_retention_policy", {"retentionInDays": 31}, "InvalidParameterException"),
        ("delete_metric_filter", {"filterName": "none"}, "ResourceNotFoundException"),
        ("put_metric_filter", {"filterName": "f", "filterPattern": "{ $.a"}, "InvalidParameterException"),
        ("associate_kms_key", {"kmsKeyId": f"arn:aws:kms:{REGION}:000000000000:key/no"}, "AccessDeniedException"),
    ],
)
def test_what_aws_refuses_is_refused(logs: Any, call: str, arguments: dict[str, Any], code: str) -> None:
    if call == "put_metric_filter":
        transformation = {"metricName": "m", "metricNamespace": "n", "metricValue": "1"}
        arguments = {**arguments, "metricTransformations": [transformation]}
    with pytest.raises(ClientError) as refused:
        getattr(logs, call)(logGroupName=GROUP, **arguments)
    assert refused.value.response["Error"]["Code"] == code


def test_key_must_let_the_service_encrypt(twin: RunningTwin, logs: Any) -> None:
    kms = twin.client("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    with pytest.raises(ClientError, match="is not allowed to be used with Arn"):
        logs.associate_kms_key(logGroupName=GROUP, kmsKeyId=key)
    policy = json.loads(kms.get_key_policy(KeyId=key)["Policy"])
    service = {"Service": f"logs.{REGION}.amazonaws.com"}
    policy["Statement"].append({"Effect": "Allow", "Principal": service, "Action": "kms:Encrypt*", "Resource": "*"})
    kms.put_key_policy(KeyId=key, Policy=json.dumps(policy))
    logs.associate_kms_key(logGroupName=GROUP, kmsKeyId=key)
    assert logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"][0]["kmsKeyId"] == key
    logs.disassociate_kms_key(logGroupName=GROUP)
    assert "kmsKeyId" not in logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"][0]


def test_protected_group_stays(logs: Any) -> None:
    logs.put_log_group_deletion_protection(logGroupIdentifier=GROUP, deletionProtectionEnabled=True)
    with pytest.raises(ClientError, match="deletion protection"):
        logs.delete_log_group(logGroupName=GROUP)
    assert logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"][0]["deletionProtectionEnabled"]
    logs.put_log_group_deletion_protection(logGroupIdentifier=GROUP, deletionProtectionEnabled=False)
    logs.delete_log_group(logGroupName=GROUP)
    logs.create_log_group(logGroupName=GROUP)


def _say(logs: Any, *lines: dict[str, Any]) -> None:
    when = int(time.time() * 1000)
    events = [{"timestamp": when, "message": json.dumps(line)} for line in lines]
    logs.put_log_events(logGroupName=GROUP, logStreamName="main/1", logEvents=events)
