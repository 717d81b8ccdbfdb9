"""What a recorded policy has beyond what the recording did."""

from llmops_kit.cli.platforms.aws.recording.recording import histories

ALARM = "arn:aws:cloudwatch:eu-central-1:000000000000:alarm:llmops-dev-chat-5xx-1a2b3c4d"
WATCHED = {"principal": "arn:aws:iam::000000000000:user/deployer", "resource": ALARM, "allowed": True}


def test_a_deployer_may_read_the_history_of_the_alarms_that_it_puts() -> None:
    """No rollback is recorded, and an `up` that was rolled back reads it."""
    put = WATCHED | {"action": "cloudwatch:PutMetricAlarm"}
    assert histories([put, WATCHED | {"action": "cloudwatch:DeleteAlarms"}]) == [
        WATCHED | {"action": "cloudwatch:DescribeAlarmHistory"}
    ]
