"""Jobs and the twin's own life: killed, stopped, emptied with jobs that run; schedules; roles that change meanwhile."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from llmops_twins.aws import control
from tests.emulated.local_runtime.test_job_containers import gone, of_home
from tests.support.runs.jobs import trainee
from twins.tests.emulated.aws.test_process import await_written
from twins.tests.support.aws import RunningTwin, made_role
from twins.tests.support.aws_jobs import (
    WORK,
    begin,
    body,
    described,
    ended,
    in_status,
    keys,
    log_lines,
    prepare,
    steps,
    until_said,
)

BUSY = """
import subprocess
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
print("busy")
catch()
wait_for_the_end(300)
"""
RETRIED = """
kept = ml / "checkpoints/step"
if kept.exists():
    (ml / "model/resumed").write_text(kept.read_text())
else:
    kept.write_text("1")
    print("busy")
    time.sleep(300)
"""


def test_a_killed_twin_leaves_no_process_and_tells_what_became_of_its_jobs(
    start: Callable[..., RunningTwin], tmp_path: Path
) -> None:
    twin = start(tmp_path / "twin", containers="run", pace=0.1)
    prepare(twin)
    role = made_role(twin, "training")
    begin(twin, role, "lost", BUSY)
    kept = {"CheckpointConfig": {"S3Uri": f"s3://{WORK}/checkpoints/retried"}}
    begin(twin, role, "retried", RETRIED, RetryStrategy={"MaximumRetryAttempts": 1}, **kept)
    begin(twin, role, "stopping", "print('busy'); catch(); time.sleep(300)")
    for name in ("lost", "retried", "stopping"):
        until_said(twin, name, "busy")
    deadline = time.monotonic() + 120
    while keys(twin, "checkpoints/retried/") != ["step"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    twin.client("sagemaker").stop_training_job(TrainingJobName="stopping")
    await_written(twin)
    assert len(of_home(twin.home)) == 4
    os.kill(twin.info.pids["twin"], signal.SIGKILL)
    assert gone(twin.home)
    again = start(twin.home, containers="run", pace=0.1)
    lost = ended(again, "lost")
    assert (lost["TrainingJobStatus"], steps(lost)[-1]) == ("Failed", "Failed")
    assert lost["FailureReason"].startswith("InternalServerError: the twin of AWS was stopped while the job ran")
    assert ended(again, "stopping")["TrainingJobStatus"] == "Stopped"
    retried = ended(again, "retried")
    assert steps(retried)[3:] == ["Restarting", "Downloading", "Training", "Uploading", "Completed"]
    assert body(again, "out/retried/output/model/resumed") == b"1"
    assert not [path for path in (again.home / "jobs").glob("*") if "retried" not in path.name]


def test_neither_down_nor_reset_leaves_a_process(start: Callable[..., RunningTwin], tmp_path: Path) -> None:
    twin = start(tmp_path / "twin", containers="run", pace=0.1)
    prepare(twin)
    begin(twin, made_role(twin, "training"), "emptied", BUSY)
    until_said(twin, "emptied", "busy")
    twin.ask("POST", "reset")
    assert gone(twin.home)
    prepare(twin)
    begin(twin, made_role(twin, "training"), "emptied", BUSY)
    in_status(twin, "emptied", "Training")
    control.down(twin.home)
    assert of_home(twin.home) == []
    assert not psutil.pid_exists(twin.info.pids["twin"])


@pytest.fixture(scope="module")
def strict(borrow: Callable[..., RunningTwin]) -> RunningTwin:
    """A twin that judges."""
    twin = borrow(containers="run", pace=0.1, judge="strict")
    prepare(twin)
    return twin


def test_a_schedule_starts_jobs_that_run(strict: RunningTwin) -> None:
    twin, role = strict, made_role(strict, "nightly")
    iam = twin.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    fires = iam.create_role(RoleName="fires", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    allowed = [
        {"Effect": "Allow", "Action": "sagemaker:CreateTrainingJob", "Resource": "*"},
        {"Effect": "Allow", "Action": "iam:PassRole", "Resource": role},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
    iam.put_role_policy(RoleName="fires", PolicyName="fires", PolicyDocument=policy)
    job = {
        "TrainingJobName": "nightly-<aws.scheduler.execution-id>",
        "RoleArn": role,
        "AlgorithmSpecification": {"TrainingImage": trainee(), "TrainingInputMode": "File"},
        "HyperParameters": {"code": json.dumps("print(os.environ['TRAINING_JOB_NAME'])")},
        "OutputDataConfig": {"S3OutputPath": f"s3://{WORK}/out", "CompressionType": "NONE"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 2))
    twin.client("scheduler").create_schedule(
        Name="once",
        ScheduleExpression=f"at({soon})",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": "arn:aws:scheduler:::aws-sdk:sagemaker:createTrainingJob",
            "RoleArn": fires,
            "Input": json.dumps(job),
        },
    )
    deadline = time.monotonic() + 120
    while not (found := twin.client("sagemaker").list_training_jobs(NameContains="nightly-")["TrainingJobSummaries"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    name = found[0]["TrainingJobName"]
    done = ended(twin, name)
    assert done["TrainingJobStatus"] == "Completed", done.get("FailureReason")
    assert log_lines(twin, name) == [name]


@pytest.mark.parametrize("lost", ["checkpoints", "out"])
def test_a_role_that_loses_a_right_while_the_job_runs(strict: RunningTwin, lost: str) -> None:
    twin, name = strict, f"loses-{lost}"
    role = made_role(twin, name)
    code = """
print("busy")
catch()
wait_for_the_end()
(ml / "checkpoints/step").write_text("1")
(ml / "model/w").write_text("1")
"""
    kept = {"CheckpointConfig": {"S3Uri": f"s3://{WORK}/checkpoints/judged"}}
    begin(twin, role, name, code, **kept)
    until_said(twin, name, "busy")
    denied = {"Effect": "Deny", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{WORK}/{lost}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [denied]})
    twin.client("iam").put_role_policy(RoleName=name, PolicyName="not", PolicyDocument=policy)
    twin.client("sagemaker").stop_training_job(TrainingJobName=name)
    job = ended(twin, name)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: ")
    assert "is not authorized to perform: s3:PutObject on resource" in job["FailureReason"]
    assert f"{WORK}/{lost}/" in job["FailureReason"]
    described(twin, name, lambda _: not list((twin.home / "jobs").iterdir()))
