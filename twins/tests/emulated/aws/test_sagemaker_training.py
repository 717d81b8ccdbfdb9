"""Training jobs: kept with every member, judged, told that nothing runs, stopped, listed."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from twins.tests.emulated.aws.test_sagemaker_models import ARN, refusal, subset
from twins.tests.support.aws import RunningTwin, made_role

QUICK = {"Delay": 0.05, "MaxAttempts": 4000}


@pytest.fixture(scope="module")
def bucket(twin: RunningTwin) -> str:
    s3 = twin.client("s3")
    s3.create_bucket(Bucket="work-of-tests")
    s3.put_object(Bucket="work-of-tests", Key="runs/1/input/data.jsonl", Body=b"{}")
    return "work-of-tests"


def job(name: str, role: str, bucket: str, channel: str = "runs/1/input/", **more: Any) -> dict[str, Any]:
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": f"s3://{bucket}/{channel}",
        "S3DataDistributionType": "FullyReplicated",
    }
    return {
        "TrainingJobName": name,
        "RoleArn": role,
        "AlgorithmSpecification": {
            "TrainingImage": "process:training@sha256:" + "b" * 64,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}],
            "EnableSageMakerMetricsTimeSeries": False,
        },
        "InputDataConfig": [{"ChannelName": "dataset", "DataSource": {"S3DataSource": source}}],
        "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/runs/1/output", "CompressionType": "NONE"},
        "CheckpointConfig": {"S3Uri": f"s3://{bucket}/runs/1/checkpoints", "LocalPath": "/opt/ml/checkpoints"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "HyperParameters": {"steps": "10"},
        "Environment": {"LLMOPS_RUN": "1"},
        "RetryStrategy": {"MaximumRetryAttempts": 2},
        "EnableNetworkIsolation": True,
        **more,
    }


def ended(twin: RunningTwin, name: str) -> dict[str, Any]:
    sagemaker = twin.client("sagemaker")
    with pytest.raises(WaiterError):
        sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=name, WaiterConfig=QUICK)
    return sagemaker.describe_training_job(TrainingJobName=name)


def test_a_job_keeps_every_member_and_says_that_nothing_runs(twin: RunningTwin, role: str, bucket: str) -> None:
    sagemaker = twin.client("sagemaker")
    given = job("Kept-1", role, bucket)
    answer = sagemaker.create_training_job(**given, Tags=[{"Key": "llmops:stack", "Value": "dev"}])
    assert answer["TrainingJobArn"] == f"{ARN}:training-job/kept-1"
    assert sagemaker.describe_training_job(TrainingJobName="Kept-1")["TrainingJobStatus"] == "InProgress"
    found = ended(twin, "Kept-1")
    assert subset(given, found)
    assert found["TrainingJobStatus"] == "Failed"
    assert "runs no containers" in found["FailureReason"]
    steps = [step["Status"] for step in found["SecondaryStatusTransitions"]]
    assert steps == ["Starting", "Downloading", "Failed"]
    assert all("EndTime" in step for step in found["SecondaryStatusTransitions"])
    tags = sagemaker.list_tags(ResourceArn=found["TrainingJobArn"])["Tags"]
    assert tags == [{"Key": "llmops:stack", "Value": "dev"}]


def test_a_name_is_used_once(twin: RunningTwin, role: str, bucket: str) -> None:
    sagemaker = twin.client("sagemaker")
    sagemaker.create_training_job(**job("once", role, bucket))
    error = refusal(sagemaker.create_training_job, **job("once", role, bucket))
    assert error.response["Error"]["Code"] == "ResourceInUse"
    assert "Training job names must be unique within an AWS account and region" in str(error)


def test_a_bad_role_is_refused(twin: RunningTwin, bucket: str) -> None:
    role = "arn:aws:iam::000000000000:role/nobody"
    error = refusal(twin.client("sagemaker").create_training_job, **job("no-role", role, bucket))
    assert f"Could not assume role {role}." in str(error)


@pytest.mark.usefixtures("no_faults")
def test_a_role_works_only_some_time_after_it_was_made(twin: RunningTwin, bucket: str) -> None:
    twin.fault("role_propagation", seconds=3600)
    role = made_role(twin, "fresh")
    error = refusal(twin.client("sagemaker").create_training_job, **job("fresh", role, bucket))
    assert "Could not assume role" in str(error)
    twin.ask("DELETE", "faults")
    twin.client("sagemaker").create_training_job(**job("fresh", role, bucket))


def test_a_job_that_is_not_there(twin: RunningTwin) -> None:
    sagemaker = twin.client("sagemaker")
    for call in (sagemaker.describe_training_job, sagemaker.stop_training_job):
        error = refusal(call, TrainingJobName="no-such")
        assert (error.response["Error"]["Code"], error.response["Error"]["Message"]) == (
            "ValidationException",
            "Requested resource not found.",
        )


def test_a_job_is_stopped_once(borrow: Callable[..., RunningTwin]) -> None:
    twin = borrow(pace=600)  # it is not over before it is stopped
    sagemaker = twin.client("sagemaker")
    twin.client("s3").create_bucket(Bucket="work-of-tests")
    twin.client("s3").put_object(Bucket="work-of-tests", Key="runs/1/input/data.jsonl", Body=b"{}")
    sagemaker.create_training_job(**job("stopped", made_role(twin, "training"), "work-of-tests"))
    error = refusal(
        sagemaker.update_training_job, TrainingJobName="stopped", ResourceConfig={"KeepAlivePeriodInSeconds": 600}
    )
    assert "no warm pool in status Available" in str(error)
    error = refusal(sagemaker.delete_training_job, TrainingJobName="stopped")
    assert error.response["Error"]["Code"] == "ResourceInUse"
    twin.ask("PUT", "settings", {"pace": 0.1})
    sagemaker.stop_training_job(TrainingJobName="stopped")
    waiter = sagemaker.get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName="stopped", WaiterConfig=QUICK)
    found = sagemaker.describe_training_job(TrainingJobName="stopped")
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Stopped", "Stopped")
    error = refusal(sagemaker.stop_training_job, TrainingJobName="stopped")
    assert "The request was rejected because the training job is in status Stopped." in str(error)
    sagemaker.delete_training_job(TrainingJobName="stopped")
    assert "Requested resource not found" in str(refusal(sagemaker.describe_training_job, TrainingJobName="stopped"))


def test_jobs_are_listed_by_status(twin: RunningTwin, role: str, bucket: str) -> None:
    sagemaker = twin.client("sagemaker")
    for number in range(3):
        sagemaker.create_training_job(**job(f"listed-{number}", role, bucket))
        ended(twin, f"listed-{number}")
    pages = sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains="listed", StatusEquals="Failed", SortBy="Status", PaginationConfig={"PageSize": 2}
    )
    found = [[each["TrainingJobName"] for each in page["TrainingJobSummaries"]] for page in pages]
    assert [len(page) for page in found] == [2, 1]
    assert sagemaker.list_training_jobs(NameContains="listed", StatusEquals="Completed")["TrainingJobSummaries"] == []


def test_input_that_went_away(twin: RunningTwin, role: str, bucket: str) -> None:
    s3 = twin.client("s3")
    s3.put_object(Bucket=bucket, Key="gone/data", Body=b"")
    twin.client("sagemaker").create_training_job(**job("gone", role, bucket, "gone/"))
    s3.delete_object(Bucket=bucket, Key="gone/data")
    assert "No S3 objects found under S3 URL" in ended(twin, "gone")["FailureReason"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds must be specified"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 10, "MaxWaitTimeInSeconds": 5}}, "MaxWaitTimeInSeconds"),
    ],
)
def test_spot_needs_a_waiting_time(twin: RunningTwin, role: str, bucket: str, more: dict[str, Any], told: str) -> None:
    with pytest.raises(ClientError, match=told):
        twin.client("sagemaker").create_training_job(**job("spot", role, bucket, **more))
