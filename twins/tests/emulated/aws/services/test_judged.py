"""What services do under a role, or answer of permissions, is the judge's: here on a strict twin."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from twins.tests.emulated.aws.services.waiting import eventually
from twins.tests.support.aws import RunningTwin, made_role

TRAIN = "arn:aws:scheduler:::aws-sdk:sagemaker:createTrainingJob"


@pytest.fixture(scope="module")
def strict(borrow: Callable[..., RunningTwin]) -> RunningTwin:
    """A twin that judges."""
    return borrow(judge="strict")


def test_simulation_of_a_role_is_the_judges_decision(strict: RunningTwin) -> None:
    iam = strict.client("iam")
    arn = _scheduler_role(iam, "reader", "s3:GetObject")
    found = iam.simulate_principal_policy(
        PolicySourceArn=arn, ActionNames=["s3:GetObject", "s3:PutObject"], ResourceArns=["arn:aws:s3:::b/k"]
    )["EvaluationResults"]
    assert [each["EvalDecision"] for each in found] == ["allowed", "implicitDeny"]


def test_schedule_does_only_what_its_role_may(strict: RunningTwin) -> None:
    iam, scheduler, sqs = (strict.client(name) for name in ("iam", "scheduler", "sqs"))
    queue = sqs.create_queue(QueueName="missed")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    job_role = made_role(strict, "job")
    for name, actions in (("able", ["sagemaker:CreateTrainingJob", "iam:PassRole"]), ("unable", ["s3:GetObject"])):
        target = {
            "Arn": TRAIN,
            "RoleArn": _scheduler_role(iam, name, *actions),
            "Input": json.dumps(_job(name, job_role)),
            "DeadLetterConfig": {"Arn": arn},
        }
        soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 2))
        window = {"Mode": "OFF"}
        scheduler.create_schedule(Name=name, ScheduleExpression=f"at({soon})", FlexibleTimeWindow=window, Target=target)
    sagemaker = strict.client("sagemaker")
    eventually(lambda: sagemaker.list_training_jobs(NameContains="able-")["TrainingJobSummaries"])
    [missed] = eventually(lambda: sqs.receive_message(QueueUrl=queue).get("Messages"))
    assert json.loads(missed["Body"])["TrainingJobName"].startswith("unable-")
    assert not sagemaker.list_training_jobs(NameContains="unable-")["TrainingJobSummaries"]


@pytest.mark.parametrize(("source", "outcome"), [("000000000000", "Successfully"), ("111111111111", "Failed")])
def test_alarm_publishes_where_the_topics_policy_lets_it(strict: RunningTwin, source: str, outcome: str) -> None:
    sns, cloudwatch = strict.client("sns"), strict.client("cloudwatch")
    topic = sns.create_topic(Name=f"from-{source}")["TopicArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic,
        "Condition": {"StringEquals": {"aws:SourceAccount": source}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    cloudwatch.put_metric_alarm(
        AlarmName=f"from-{source}",
        Namespace="Test",
        MetricName="Never",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="breaching",
        AlarmActions=[topic],
    )
    history = {"AlarmName": f"from-{source}", "HistoryItemType": "Action"}
    [item] = eventually(lambda: cloudwatch.describe_alarm_history(**history)["AlarmHistoryItems"])
    assert item["HistorySummary"].startswith(outcome)


def _scheduler_role(iam: Any, name: str, *actions: str) -> str:
    principal = {"Service": "scheduler.amazonaws.com"}
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}],
    }
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(allowed))
    return arn


def _job(name: str, role: str) -> dict[str, Any]:
    return {
        "TrainingJobName": f"{name}-<aws.scheduler.execution-id>",
        "RoleArn": role,
        "AlgorithmSpecification": {
            "TrainingImage": "process:training@sha256:" + "b" * 64,
            "TrainingInputMode": "File",
        },
        "OutputDataConfig": {"S3OutputPath": "s3://runs-of-tests/runs"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
