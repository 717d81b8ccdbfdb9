"""`audit: true` on a twin of AWS: the trail stands, its files are locked, and an alarm tells of each signature."""

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.emulated.aws.conftest import MakeStack
from tests.support.clouds.aws import REGION, Account, AwsStack
from tests.support.servers.serving import until

KEPT = " (llmops down keeps it)"


@pytest.mark.scorecard("audit-log")
def test_a_trail_is_kept_locked_and_heard(account: Account, make: MakeStack) -> None:
    stack = make("audited", deploy=False, aws={"region": REGION})
    stack.up()
    before = stack.state()
    stack.settings["aws"] |= {"audit": True, "log_retention_days": 30}
    planned = stack.changes()
    assert {planned[f"{each}{KEPT}"] for each in ("trail", "audit", "audit-lock", "logs-audit", "role-audit")} == {
        "create"
    }
    assert planned[f"data-key{KEPT}"] == "update", "it lets the trail encrypt"
    assert "cloudtrail" not in before
    said = stack.llmops("plan")
    assert "events of the trail" in said, "what it costs"
    assert "broken rule" not in said
    stack.up()
    assert stack.changes() == {}
    stack.pulumi("refresh", "--yes")
    assert stack.changes() == {}

    trail = trail_of(account, "llmops-audited")
    assert account.client("cloudtrail").get_trail_status(Name=trail["TrailARN"])["IsLogging"] is True
    told = account.client("cloudtrail").get_event_selectors(TrailName=trail["TrailARN"])["AdvancedEventSelectors"]
    assert [each["FieldSelectors"][0]["Equals"] for each in told if len(each["FieldSelectors"]) == 1] == [
        ["Management"]
    ]
    refuse_deletion(account, trail["S3BucketName"])
    assert_heard(account, stack, trail)

    name = stack.name
    refused = stack.llmops("down", "--data", name, code=1)
    assert f"s3://{trail['S3BucketName']}" in refused
    assert "audit log" in refused
    stack.llmops("down")
    assert trail_of(account, "llmops-audited")["TrailARN"] == trail["TrailARN"], "`down` keeps it"
    assert account.client("cloudtrail").get_trail_status(Name=trail["TrailARN"])["IsLogging"] is True


def trail_of(account: Account, beginning: str) -> dict[str, Any]:
    """The one trail whose name begins so."""
    found = account.client("cloudtrail").describe_trails()["trailList"]
    (trail,) = (each for each in found if each["Name"].startswith(beginning))
    return trail


def refuse_deletion(account: Account, bucket: str) -> None:
    """A file of the trail stays, even for the account's root."""
    s3 = account.client("s3")
    version = s3.put_object(Bucket=bucket, Key="AWSLogs/one.json.gz", Body=b"{}")["VersionId"]
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=bucket, Key="AWSLogs/one.json.gz", VersionId=version, BypassGovernanceRetention=True)


def assert_heard(account: Account, stack: AwsStack, trail: dict[str, Any]) -> None:
    """As CloudTrail writes a signature into the log group, the alarm on signatures goes off, and it alone."""
    logs, cloudwatch = account.client("logs"), account.client("cloudwatch")
    group = trail["CloudWatchLogsLogGroupArn"].partition(":log-group:")[2].removesuffix(":*")
    key = stack.outputs()["signing"]["private_key"].removeprefix("awskms:///")
    signed = {"eventSource": "kms.amazonaws.com", "eventName": "Sign", "resources": [{"ARN": key}]}
    foreign = signed | {"resources": [{"ARN": f"{key}-of-others"}]}
    logs.create_log_stream(logGroupName=group, logStreamName="one")

    alarms = cloudwatch.describe_alarms(AlarmNamePrefix="llmops-audited-audit-")["MetricAlarms"]
    names = {each["AlarmName"].split("-")[3]: each["AlarmName"] for each in alarms}
    assert set(names) == {"signed", "changed"}
    filters = logs.describe_metric_filters(logGroupName=group, filterNamePrefix=names["signed"])["metricFilters"]
    messages = [json.dumps(foreign), json.dumps(signed)]
    [counted] = logs.test_metric_filter(filterPattern=filters[0]["filterPattern"], logEventMessages=messages)["matches"]
    assert counted["eventNumber"] == 2

    def has_alarmed(which: str) -> bool:  # by its history: the twin's periods end soon, and with them the state
        history = cloudwatch.describe_alarm_history(AlarmName=names[which], HistoryItemType="StateUpdate")
        return any(each["HistorySummary"].endswith("to ALARM") for each in history["AlarmHistoryItems"])

    def signs() -> bool:  # each time once more: on a busy machine a period ends before the twin evaluates it
        lines = [{"timestamp": int(time.time() * 1000), "message": message} for message in messages]
        logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=lines)
        return has_alarmed("signed")

    until(signs)
    assert not has_alarmed("changed")
