"""Training jobs on a twin of AWS, and the bucket that they read and write."""

import json
import time
from collections.abc import Callable
from typing import Any

from tests.support.runs.jobs import trainee
from twins.tests.support.aws import RunningTwin

WORK = "work-of-jobs"


def prepare(twin: RunningTwin) -> None:
    """Makes the bucket, with rows to read."""
    s3 = twin.client("s3")
    s3.create_bucket(Bucket=WORK)
    for key, body in {
        "in/rows/a.jsonl": b"1\n",
        "in/rows/b/c.jsonl": b"2\n",
        "in/rows/": b"",
        "in/rowsx": b"3",
    }.items():
        s3.put_object(Bucket=WORK, Key=key, Body=body)


def begin(twin: RunningTwin, role: str, name: str, code: str, **more: Any) -> str:
    """Starts a job that executes `code`, and returns its name."""
    algorithm = {"TrainingImage": trainee(), "TrainingInputMode": "File", **more.pop("algorithm", {})}
    request = {
        "TrainingJobName": name,
        "RoleArn": role,
        "AlgorithmSpecification": algorithm,
        "HyperParameters": {"code": json.dumps(code), "steps": "10"},
        "InputDataConfig": [channel("train", "in/rows/")],
        "OutputDataConfig": {"S3OutputPath": f"s3://{WORK}/out", "CompressionType": "NONE"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }
    twin.client("sagemaker").create_training_job(**request | more)
    return name


def channel(name: str, key: str, **more: Any) -> dict[str, Any]:
    """Returns an input channel of the objects below a key."""
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{WORK}/{key}", **more.pop("source", {})}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, **more}


def described(twin: RunningTwin, name: str, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Waits for a job to fulfil a condition, and returns its description."""
    deadline = time.monotonic() + 600
    while True:
        found = twin.client("sagemaker").describe_training_job(TrainingJobName=name)
        if until(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.03)


def ended(twin: RunningTwin, name: str) -> dict[str, Any]:
    """Waits for the end of a job, and returns its description."""
    return described(twin, name, lambda job: job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped"))


def in_status(twin: RunningTwin, name: str, status: str) -> dict[str, Any]:
    """Waits for a secondary status, and returns the job's description."""
    return described(twin, name, lambda job: job["SecondaryStatus"] == status)


def steps(job: dict[str, Any]) -> list[str]:
    """Returns the secondary statuses that a job went through."""
    return [each["Status"] for each in job["SecondaryStatusTransitions"]]


def keys(twin: RunningTwin, prefix: str) -> list[str]:
    """Returns the keys below a prefix, without it."""
    found = twin.client("s3").list_objects_v2(Bucket=WORK, Prefix=prefix).get("Contents", [])
    return [each["Key"].removeprefix(prefix) for each in found]


def body(twin: RunningTwin, key: str) -> bytes:
    """Returns an object's content."""
    return twin.client("s3").get_object(Bucket=WORK, Key=key)["Body"].read()


def log_lines(twin: RunningTwin, job: str, host: str = "algo-1") -> list[str]:
    """Returns what one host of a job has logged."""
    logs = twin.client("logs")
    group = "/aws/sagemaker/TrainingJobs"
    if not logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
        return []
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/{host}-")["logStreams"]
    return [
        event["message"]
        for stream in streams
        for event in logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
    ]


def until_said(twin: RunningTwin, job: str, line: str) -> None:
    """Waits for a line in a job's log."""
    deadline = time.monotonic() + 120
    while line not in log_lines(twin, job):
        assert time.monotonic() < deadline, log_lines(twin, job)
        time.sleep(0.05)
