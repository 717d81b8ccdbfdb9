"""Training jobs whose containers really run: what they find, what they leave, and how they end."""

import io
import json
import tarfile
import time
from collections.abc import Callable

import pytest

from llmops_twins.core.control import own_key
from tests.support.clouds.twin_keys import root_secret
from twins.tests.support.aws import RunningTwin, made_role
from twins.tests.support.aws_jobs import (
    WORK,
    begin,
    body,
    channel,
    described,
    ended,
    keys,
    log_lines,
    prepare,
    steps,
    until_said,
)


@pytest.fixture(scope="module")
def twin(borrow: Callable[..., RunningTwin]) -> RunningTwin:
    found = borrow(containers="run", pace=0.1)
    prepare(found)
    return found


@pytest.fixture(scope="module")
def role(twin: RunningTwin) -> str:
    return made_role(twin, "training")


CONTRACT = """
import socket
found = {
    "config": {name: config(name) for name in ("hyperparameters", "resourceconfig", "inputdataconfig")},
    "files": sorted(str(p.relative_to(ml / "input/data")) for p in (ml / "input/data").rglob("*") if p.is_file()),
    "environ": {k: os.environ[k] for k in ("TRAINING_JOB_NAME", "TRAINING_JOB_ARN", "AWS_REGION", "OWN")},
    "foreign": [k for k in os.environ if k.startswith(("AWS_ACCESS", "MOTO"))],
}
(ml / "model/found.json").write_text(json.dumps(found))
(ml / "model/deep").mkdir()
(ml / "model/deep/weights").write_bytes(bytes(3_000_000))
(ml / "model/link").symlink_to("found.json")
(ml / "model/stray").symlink_to("/etc/hostname")
(ml / "output/data/report.txt").write_text("ok")
for step in range(3):
    print(f"step={step} loss={1 / (step + 1)} nothing=")
"""


def test_what_a_container_finds_and_what_it_leaves(twin: RunningTwin, role: str) -> None:
    metrics = [{"Name": "loss", "Regex": r"loss=(\S+)"}, {"Name": "no", "Regex": "nothing=(.*)"}]
    name = begin(twin, role, "contract", CONTRACT, algorithm={"MetricDefinitions": metrics}, Environment={"OWN": "1"})
    job = ended(twin, name)
    assert steps(job) == ["Starting", "Downloading", "Training", "Uploading", "Completed"], job.get("FailureReason")
    assert all(each["StartTime"] <= each["EndTime"] for each in job["SecondaryStatusTransitions"])
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{WORK}/out/contract/output/model/"
    left = ["data/report.txt", "model/deep/weights", "model/found.json", "model/link"]
    assert keys(twin, "out/contract/output/") == left
    found = json.loads(body(twin, "out/contract/output/model/link"))
    assert found["config"]["hyperparameters"]["steps"] == "10"
    assert found["config"]["resourceconfig"] == {
        "current_host": "algo-1",
        "current_instance_type": "ml.m5.xlarge",
        "current_group_name": "homogeneousCluster",
        "hosts": ["algo-1"],
        "instance_groups": [
            {"instance_group_name": "homogeneousCluster", "instance_type": "ml.m5.xlarge", "hosts": ["algo-1"]}
        ],
        "network_interface_name": "lo",
    }
    assert found["config"]["inputdataconfig"] == {
        "train": {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
    }
    assert found["files"] == ["train/a.jsonl", "train/b/c.jsonl"]
    assert found["environ"] == {
        "TRAINING_JOB_NAME": "contract",
        "TRAINING_JOB_ARN": job["TrainingJobArn"],
        "AWS_REGION": "us-east-1",
        "OWN": "1",
    }
    assert found["foreign"] == []
    assert log_lines(twin, "contract") == [f"step={step} loss={1 / (step + 1)} nothing=" for step in range(3)]
    assert [(each["MetricName"], each["Value"]) for each in job["FinalMetricDataList"]] == [
        ("loss", pytest.approx(1 / 3))
    ]
    watched = twin.client("cloudwatch").get_metric_statistics(
        Namespace="/aws/sagemaker/TrainingJobs",
        MetricName="loss",
        Dimensions=[{"Name": "TrainingJobName", "Value": "contract"}],
        StartTime=job["CreationTime"],
        EndTime=time.time() + 60,
        Period=3600,
        Statistics=["Maximum", "SampleCount"],
    )["Datapoints"]
    assert [(each["Maximum"], each["SampleCount"]) for each in watched] == [(1.0, 3.0)]
    assert job["TrainingStartTime"] <= job["TrainingEndTime"]
    assert job["BillableTimeInSeconds"] == job["TrainingTimeInSeconds"]
    assert not list((twin.home / "jobs").iterdir())


def test_archives_a_key_and_versions(twin: RunningTwin, role: str) -> None:
    key = twin.client("kms").create_key()["KeyMetadata"]
    twin.client("kms").create_alias(AliasName="alias/outputs", TargetKeyId=key["KeyId"])
    twin.client("s3").put_bucket_versioning(Bucket=WORK, VersioningConfiguration={"Status": "Enabled"})
    output = {"S3OutputPath": f"s3://{WORK}/out/", "KmsKeyId": "alias/outputs"}
    code = "(ml / 'model/w').write_text('w'); (ml / 'output/data/d').write_text('d')"
    job = ended(twin, begin(twin, role, "archives", code, OutputDataConfig=output))
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{WORK}/out/archives/output/model.tar.gz"
    for archive, name in (("model.tar.gz", "w"), ("output.tar.gz", "d")):
        head = twin.client("s3").head_object(Bucket=WORK, Key=f"out/archives/output/{archive}")
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key["Arn"])
        assert head["VersionId"] != "null"
        with tarfile.open(fileobj=io.BytesIO(body(twin, f"out/archives/output/{archive}"))) as tar:
            content = tar.extractfile(name)
            assert content
            assert (tar.getnames(), content.read()) == ([name], name.encode())


@pytest.mark.vulnerability(3)
def test_vulnerability_3_a_job_has_no_key_of_its_twin(twin: RunningTwin, role: str) -> None:
    """Its environment is its own, and what it asks the twin without a signature is refused."""
    code = f"""
import urllib.request, urllib.error
print("environment", dict(os.environ))
for path in ("/_twin/status", "/"):
    try:
        urllib.request.urlopen("{twin.info.url}" + path)
    except urllib.error.HTTPError as e:
        print("refused", path, e.code)
"""
    ended(twin, begin(twin, role, "curious", code))
    lines = log_lines(twin, "curious")
    assert [line for line in lines if line.startswith("refused")] == ["refused /_twin/status 403", "refused / 403"]
    said = "\n".join(lines)
    assert "environment" in said
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "LLMOPS_AWS_TWIN_KEY", "AWS_ENDPOINT_URL"):
        assert name not in said
    assert root_secret(twin.home) not in said
    assert own_key(twin.home) not in said


def test_a_failure_file_is_the_reason(twin: RunningTwin, role: str) -> None:
    code = """
(ml / "output/failure").write_text("no such column: x" + "!" * 2000)
(ml / "output/data/why.txt").write_text("because")
(ml / "model/half").write_text("")
sys.exit(7)
"""
    job = ended(twin, begin(twin, role, "failing", code))
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"].startswith("AlgorithmError: no such column: x!!!")
    assert job["FailureReason"].endswith("!, exit code: 7")
    assert "ModelArtifacts" not in job
    assert keys(twin, "out/failing/output/") == ["data/why.txt"]


def test_it_is_stopped_in_its_own_time(twin: RunningTwin, role: str) -> None:
    code = "catch(); print('ready'); wait_for_the_end(); (ml / 'model/saved').write_text('late'); sys.exit(3)"
    name = begin(twin, role, "stopping", code)
    until_said(twin, name, "ready")
    twin.client("sagemaker").stop_training_job(TrainingJobName=name)
    job = ended(twin, name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert steps(job)[-3:] == ["Stopping", "Uploading", "Stopped"]
    assert body(twin, "out/stopping/output/model/saved") == b"late"


def test_it_is_ended_when_its_time_is_over(twin: RunningTwin, role: str) -> None:
    stopping = {"MaxRuntimeInSeconds": 1}
    job = ended(twin, begin(twin, role, "too-long", "time.sleep(100)", StoppingCondition=stopping))
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


RESUMING = """
catch()
kept = ml / "checkpoints/step"
number = int(kept.read_text()) if kept.exists() else 0
print(f"from {number}, model has {list((ml / 'model').iterdir())}")
(ml / "model/half").write_text("")
if number == 0:
    kept.write_text("1")
    wait_for_the_end()
    kept.write_text("2")
"""


@pytest.mark.usefixtures("no_faults")
def test_spot_that_is_reclaimed_goes_on_from_its_checkpoints(twin: RunningTwin, role: str) -> None:
    more = {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600},
        "CheckpointConfig": {"S3Uri": f"s3://{WORK}/checkpoints/spot-1"},
    }
    begin(twin, role, "spot-1", RESUMING, **more)
    until_said(twin, "spot-1", "from 0, model has []")
    twin.fault("spot_reclaim", job="spot-*", after_seconds=0.3)
    job = ended(twin, "spot-1")
    once = ["Starting", "Downloading", "Training"]
    assert steps(job) == [*once, "Interrupted", *once, "Uploading", "Completed"], job.get("FailureReason")
    assert sorted(log_lines(twin, "spot-1")) == ["from 0, model has []", "from 2, model has []"]
    assert body(twin, "checkpoints/spot-1/step") == b"2"
    assert job["BillableTimeInSeconds"] <= job["TrainingTimeInSeconds"]


QUICK = """
kept = ml / "checkpoints/step"
print("from", kept.exists())
kept.write_text("1")
"""


@pytest.mark.usefixtures("no_faults")
def test_spot_is_reclaimed_at_a_file_even_where_the_job_ends_at_once(twin: RunningTwin, role: str) -> None:
    twin.fault("spot_reclaim", job="spot-*", after_file="*/checkpoints/step")
    more = {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600},
        "CheckpointConfig": {"S3Uri": f"s3://{WORK}/checkpoints/spot-2"},
    }
    begin(twin, role, "spot-2", QUICK, **more)
    job = ended(twin, "spot-2")
    assert steps(job).count("Interrupted") == 1, job.get("FailureReason")
    assert sorted(log_lines(twin, "spot-2")) == ["from False", "from True"]


def test_checkpoints_come_and_go_while_it_runs(twin: RunningTwin, role: str) -> None:
    twin.client("s3").put_object(Bucket=WORK, Key="checkpoints/both/old", Body=b"old")
    twin.client("s3").put_object(Bucket=WORK, Key="checkpoints/both-not", Body=b"another's")
    code = """
catch()
folder = root / "mnt/kept"
(folder / "new").mkdir()
(folder / "new/file").write_text(" ".join(sorted(p.name for p in folder.iterdir())))
wait_for_the_end()
"""
    place = {"S3Uri": f"s3://{WORK}/checkpoints/both", "LocalPath": "/mnt/kept"}
    name = begin(twin, role, "checkpointing", code, CheckpointConfig=place)
    deadline = time.monotonic() + 120
    while keys(twin, "checkpoints/both/") != ["new/file", "old"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert body(twin, "checkpoints/both/new/file") == b"new old"
    twin.client("sagemaker").stop_training_job(TrainingJobName=name)
    ended(twin, name)


TALKING = """
import socket
mine = config("resourceconfig")["current_host"]
addresses = dict(reversed(line.split()) for line in (root / "etc/hosts").read_text().splitlines())
print(" ".join(sorted(p.name for p in (ml / "input/data/train").iterdir())))
if mine == "algo-1":
    with socket.create_server((addresses[mine], 29500)) as server:
        peer, _ = server.accept()
        print("heard", peer.recv(100).decode())
else:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((addresses["algo-1"], 29500), source_address=(addresses[mine], 0)) as peer:
                peer.sendall(mine.encode())
            break
        except OSError:
            time.sleep(0.02)
(ml / f"model/{mine}").write_text(mine)
(ml / "model/both").write_text(mine)
"""
TWO = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30}


def test_two_instances_talk_to_each_other_on_the_same_port(twin: RunningTwin, role: str) -> None:
    more = {
        "ResourceConfig": TWO,
        "InputDataConfig": [channel("train", "in/rows/", source={"S3DataDistributionType": "ShardedByS3Key"})],
    }
    names = [begin(twin, role, f"two-{number}", TALKING, **more) for number in (1, 2)]  # both at once
    for name in names:
        job = ended(twin, name)
        assert job["TrainingJobStatus"] == "Completed", (job.get("FailureReason"), log_lines(twin, name))
        assert log_lines(twin, name) == ["a.jsonl", "heard algo-2"]
        assert keys(twin, f"out/{name}/output/model/") == ["algo-1", "algo-2", "both"]
        assert body(twin, f"out/{name}/output/model/both") == b"algo-1"


def test_one_instance_that_fails_ends_them_all(twin: RunningTwin, role: str) -> None:
    code = """
if config("resourceconfig")["current_host"] == "algo-2":
    sys.exit(9)
catch()
wait_for_the_end()
print("told to end")
"""
    job = ended(twin, begin(twin, role, "one-fails", code, ResourceConfig=TWO))
    assert job["FailureReason"] == "AlgorithmError: , exit code: 9"


@pytest.mark.usefixtures("no_faults")
def test_a_crash_bad_images_and_no_capacity(twin: RunningTwin, role: str) -> None:
    twin.fault("crash", name="crashing")
    assert "exit code: 137" in ended(twin, begin(twin, role, "crashing", "time.sleep(100)"))["FailureReason"]
    twin.fault("bad_image", image="process:trainee@*")
    bad = ended(twin, begin(twin, role, "bad-image", ""))
    assert bad["FailureReason"] == "AlgorithmError: , exit code: 1"
    assert log_lines(twin, "bad-image") == ["exec /usr/local/bin/python: exec format error"]
    twin.fault("capacity", instance_type="ml.m5.*")
    missing = ended(twin, begin(twin, role, "no-capacity", ""))
    assert missing["FailureReason"].startswith("CapacityError: Unable to provision requested ML compute capacity.")
    spot = {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 1},
    }
    waited = ended(twin, begin(twin, role, "no-spot", "", **spot))
    assert (waited["TrainingJobStatus"], waited["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")


def test_an_image_that_nobody_built(twin: RunningTwin, role: str) -> None:
    algorithm = {"TrainingImage": f"process:trainee@sha256:{'0' * 64}"}
    job = ended(twin, begin(twin, role, "unbuilt", "", algorithm=algorithm))
    assert job["FailureReason"].startswith("ClientError: ")
    assert "is not built on this machine" in job["FailureReason"]


def test_a_key_that_leads_out_of_its_folder(twin: RunningTwin, role: str) -> None:
    twin.client("s3").put_object(Bucket=WORK, Key="evil/../../../../../stolen", Body=b"")
    job = ended(twin, begin(twin, role, "evil", "", InputDataConfig=[channel("train", "evil/")]))
    assert "can't be a file below a folder" in job["FailureReason"]


def test_what_the_twin_can_not_do_is_refused_at_once(twin: RunningTwin, role: str) -> None:
    listed = channel("train", "in/rows", source={"S3DataType": "ManifestFile"})
    with pytest.raises(Exception, match="can't fill channel train"):
        begin(twin, role, "listed", "", InputDataConfig=[listed])
    with pytest.raises(Exception, match="Invalid regular expression"):
        begin(twin, role, "regex", "", algorithm={"MetricDefinitions": [{"Name": "x", "Regex": "("}]})


def test_its_own_entrypoint_and_a_channel_to_read_only(twin: RunningTwin, role: str) -> None:
    algorithm = {
        "ContainerEntrypoint": ["sh", "-c"],
        "ContainerArguments": ["ls -ld $0 | cut -c1-10", "/opt/ml/input/data/train/a.jsonl"],
    }
    more = {"algorithm": algorithm, "InputDataConfig": [channel("train", "in/rows/", InputMode="FastFile")]}
    job = ended(twin, begin(twin, role, "entrypoint", "", **more))
    assert (job["TrainingJobStatus"], log_lines(twin, "entrypoint")) == ("Completed", ["-r--r--r--"])


def test_warm_pools_are_reused_and_expire(twin: RunningTwin, role: str) -> None:
    sagemaker = twin.client("sagemaker")
    kept = {"InstanceType": "ml.c5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30, "KeepAlivePeriodInSeconds": 600}
    first = ended(twin, begin(twin, role, "warm-1", "", ResourceConfig=kept))
    assert first["WarmPoolStatus"] == {"Status": "Available"}
    other = ended(twin, begin(twin, role, "cold", "", ResourceConfig={**kept, "VolumeSizeInGB": 31}))
    assert other["WarmPoolStatus"] == {"Status": "Available"}
    second = ended(twin, begin(twin, role, "warm-2", "", ResourceConfig=kept))
    assert second["WarmPoolStatus"] == {"Status": "Available"}
    first = sagemaker.describe_training_job(TrainingJobName="warm-1")["WarmPoolStatus"]
    assert (first["Status"], first["ReusedByJob"]) == ("Reused", "warm-2")
    warm = sagemaker.list_training_jobs(WarmPoolStatusEquals="Available")["TrainingJobSummaries"]
    assert sorted(each["TrainingJobName"] for each in warm) == ["cold", "warm-2"]
    sagemaker.update_training_job(TrainingJobName="warm-2", ResourceConfig={"KeepAlivePeriodInSeconds": 0})
    described(twin, "warm-2", lambda job: job["WarmPoolStatus"]["Status"] == "Terminated")
    stopping = {"MaxRuntimeInSeconds": 10, "MaxWaitTimeInSeconds": 10}
    more = {"ResourceConfig": kept, "EnableManagedSpotTraining": True, "StoppingCondition": stopping}
    with pytest.raises(Exception, match="KeepAlivePeriodInSeconds is not supported"):
        begin(twin, role, "warm-spot", "", **more)
