"""Schedules: every field comes back, and what is due is done under the schedule's role."""

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from twins.tests.emulated.aws.services.waiting import eventually
from twins.tests.support.aws import REGION, RunningTwin

TRAIN = "arn:aws:scheduler:::aws-sdk:sagemaker:createTrainingJob"
JOB = {
    "TrainingJobName": "nightly-<aws.scheduler.execution-id>",
    "AlgorithmSpecification": {"TrainingImage": "process:training@sha256:" + "b" * 64, "TrainingInputMode": "File"},
    "OutputDataConfig": {"S3OutputPath": "s3://models-of-tests/runs"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
}


@pytest.fixture(scope="module")
def scheduler_role(twin: RunningTwin) -> str:
    """A role that Scheduler may assume."""
    principal = {"Service": "scheduler.amazonaws.com"}
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}],
    }
    role = twin.client("iam").create_role(RoleName="scheduler", AssumeRolePolicyDocument=json.dumps(trust))
    return role["Role"]["Arn"]


@pytest.fixture
def scheduler(twin: RunningTwin) -> Any:
    """A client."""
    return twin.client("scheduler")


def test_schedule_and_group_keep_their_fields(scheduler: Any, scheduler_role: str) -> None:
    arn = scheduler.create_schedule_group(Name="kit", Tags=[{"Key": "a", "Value": "b"}])["ScheduleGroupArn"]
    assert scheduler.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    given = {
        "Name": "nightly",
        "GroupName": "kit",
        "Description": "d",
        "ScheduleExpression": "cron(0 3 ? * MON-FRI *)",
        "ScheduleExpressionTimezone": "Europe/Berlin",
        "State": "DISABLED",
        "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
        "Target": {"Arn": TRAIN, "RoleArn": scheduler_role, "Input": json.dumps(JOB)},
    }
    scheduler.create_schedule(**given)
    shown = scheduler.get_schedule(Name="nightly", GroupName="kit")
    assert {name: value for name, value in given.items() if name != "Target"}.items() <= shown.items()
    assert shown["Target"]["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    assert shown["Arn"] == f"arn:aws:scheduler:{REGION}:000000000000:schedule/kit/nightly"
    with pytest.raises(scheduler.exceptions.ConflictException, match=r"Schedule nightly already exists\."):
        scheduler.create_schedule(**given)
    scheduler.delete_schedule_group(Name="kit")
    with pytest.raises(scheduler.exceptions.ResourceNotFoundException, match=r"Schedule nightly does not exist\."):
        scheduler.get_schedule(Name="nightly", GroupName="kit")


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"ScheduleExpression": "cron(0 3 * * * *)"}, "Invalid Schedule Expression"),
        ({"ScheduleExpressionTimezone": "Mars/North"}, "Invalid Schedule Expression Timezone"),
        ({"GroupName": "none"}, "Schedule group none does not exist"),
        ({"Target": {"Arn": TRAIN.replace("createTrainingJob", "makeTea")}}, "not a supported universal target"),
        ({"Target": {"Arn": TRAIN, "Input": "{"}}, "Input is not a valid JSON object"),
        ({"Target": {"RoleArn": "arn:aws:iam::000000000000:role/none"}}, "must allow AWS EventBridge Scheduler"),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}}, "MaximumWindowInMinutes"),
    ],
)
def test_what_aws_refuses_is_refused(scheduler: Any, scheduler_role: str, changed: dict[str, Any], text: str) -> None:
    given = {
        "Name": "s",
        "ScheduleExpression": "rate(1 day)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        **changed,
        "Target": {"Arn": TRAIN, "RoleArn": scheduler_role, "Input": json.dumps(JOB), **changed.get("Target", {})},
    }
    with pytest.raises(ClientError, match=text):
        scheduler.create_schedule(**given)


def test_a_due_schedule_starts_a_training_job(
    twin: RunningTwin, scheduler: Any, scheduler_role: str, role: str, model: str
) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 2))
    scheduler.create_schedule(
        Name="once",
        ScheduleExpression=f"at({soon})",
        FlexibleTimeWindow={"Mode": "OFF"},
        ActionAfterCompletion="DELETE",
        Target={"Arn": TRAIN, "RoleArn": scheduler_role, "Input": json.dumps({**JOB, "RoleArn": role})},
    )
    sagemaker = twin.client("sagemaker")
    [job] = eventually(lambda: sagemaker.list_training_jobs(NameContains="nightly-")["TrainingJobSummaries"])
    assert len(job["TrainingJobName"]) == len("nightly-") + 16
    assert not scheduler.list_schedules(NamePrefix="once")["Schedules"]
