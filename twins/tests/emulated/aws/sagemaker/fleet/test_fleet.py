"""Endpoints that serve: containers start, answer and end; updates, faults and the twin's own end lose no request."""

import io
import json
import os
import signal
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from hosting.child import MARK
from hosting.images import build
from tests.support.echo import echo_source
from tests.support.models import copy_model, tiny_model
from tests.support.serving import sign_version, until
from twins.aws import control
from twins.tests.support.aws import RunningTwin, await_status, made_role

FAILED_PING = "The primary container for production variant main did not pass the ping health check."


@dataclass
class Cloud:
    """A twin that runs containers, and what makes endpoints there."""

    twin: RunningTwin
    image: str
    role: str
    made: int = 0
    endpoints: set[str] = field(default_factory=set)

    @property
    def sagemaker(self) -> Any:
        return self.twin.client("sagemaker")

    def model(self, image: str = "", data: dict[str, Any] | None = None, /, **environ: str) -> str:
        """The name of a new model of the echo image with these variables."""
        self.made += 1
        container = {"Image": image or self.image, "Environment": environ, **(data or {})}
        self.sagemaker.create_model(
            ModelName=f"model-{self.made}", ExecutionRoleArn=self.role, PrimaryContainer=container
        )
        return f"model-{self.made}"

    def config(self, *variants: dict[str, Any]) -> str:
        """The name of a new configuration."""
        self.made += 1
        defaults = {"VariantName": "main", "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=f"config-{self.made}", ProductionVariants=[defaults | each for each in variants]
        )
        return f"config-{self.made}"

    def of_version(self, version: str, count: int = 1, **environ: str) -> str:
        """A configuration with one variant whose containers answer with a version."""
        return self.config({"ModelName": self.model(**{"VERSION": version, **environ}), "InitialInstanceCount": count})

    def create(self, name: str, config: str) -> dict[str, Any]:
        """Create an endpoint and wait for its end."""
        self.endpoints.add(name)
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        return await_status(self.twin, name, "InService", "Failed")

    def update(self, name: str, config: str, **deployment: Any) -> dict[str, Any]:
        """Update an endpoint and wait for its end."""
        more = {"DeploymentConfig": deployment} if deployment else {}
        self.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, **more)
        return await_status(self.twin, name, "InService", "Failed")

    def ask(self, name: str, **more: Any) -> dict[str, Any]:
        """An answer, with its body as text."""
        answer = self.twin.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body=b"version", **more)
        return {**answer, "text": answer["Body"].read().decode()}

    def instances(self, name: str) -> list[dict[str, Any]]:
        """What the twin says of an endpoint's instances."""
        return [each for each in self.twin.ask("GET", "status")["instances"] if each["endpoint"] == name]

    def lines(self, name: str) -> list[str]:
        """All that an endpoint's containers wrote."""
        found = self.twin.client("logs").filter_log_events(logGroupName=f"/aws/sagemaker/Endpoints/{name}")
        return [event["message"] for event in found["events"]]

    def alarm(self, name: str, **metric: Any) -> dict[str, Any]:
        """AutoRollbackConfiguration with a new alarm: below 1 in the last period."""
        self.twin.client("cloudwatch").put_metric_alarm(
            AlarmName=name,
            ComparisonOperator="LessThanThreshold",
            Threshold=1.0,
            Statistic="Minimum",
            Period=60,
            EvaluationPeriods=1,
            TreatMissingData="notBreaching",
            **metric,
        )
        return {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name}]}}


class Load:
    """Clients that ask one after the other, until `stop`."""

    def __init__(self, cloud: Cloud, name: str, clients: int = 3) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._cloud, self._name = cloud, name
        self._stopped = threading.Event()
        cloud.twin.client("sagemaker-runtime")
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def saw(self, version: str, times: int = 5) -> bool:
        """Did so many answers come from a version?"""
        return self.answers.count(version) >= times

    def stop(self) -> None:
        """Let the requests under way end."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.answers.append(self._cloud.ask(self._name)["text"])
            except ClientError as e:
                self.failures.append(str(e))
            time.sleep(0.005)


def blue_green(kind: str = "ALL_AT_ONCE", wait: int = 300, **more: Any) -> dict[str, Any]:
    routing = {"Type": kind, "WaitIntervalInSeconds": wait, **more}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}


@pytest.fixture(scope="module")
def cloud(start: Callable[..., RunningTwin], tmp_path_factory: pytest.TempPathFactory) -> Cloud:
    """One twin for this file."""
    twin = start(pace=0.2, containers="run")
    return Cloud(twin, build(echo_source(tmp_path_factory.mktemp("echo"))), made_role(twin, "serving"))


@pytest.fixture(autouse=True)
def _no_leftovers(cloud: Cloud) -> Iterator[None]:
    yield
    cloud.twin.ask("DELETE", "faults")
    for name in list(cloud.endpoints):
        await_status(cloud.twin, name, "InService", "Failed")
        cloud.sagemaker.delete_endpoint(EndpointName=name)
    until(lambda: not cloud.twin.ask("GET", "status")["endpoints"])
    cloud.endpoints.clear()


@pytest.fixture
def load(cloud: Cloud) -> Iterator[Callable[[str], Load]]:
    """Start clients of an endpoint; no request of theirs may fail."""
    started: list[Load] = []

    def begin(name: str) -> Load:
        started.append(Load(cloud, name))
        return started[-1]

    yield begin
    for each in started:
        each.stop()
    assert [failure for each in started for failure in each.failures] == []


def of_home(home: Path) -> list[int]:
    """Processes of the containers of a twin, by the mark in their environments."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(f"{home / 'hosting'}:"):
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def test_an_endpoint_serves_what_its_model_is(cloud: Cloud) -> None:
    s3 = cloud.twin.client("s3")
    s3.create_bucket(Bucket="data-of-fleet")
    s3.put_object(Bucket="data-of-fleet", Key="one/weights/w.bin", Body=b"w" * 100)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("deep/w.bin")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"www"))
    s3.put_object(Bucket="data-of-fleet", Key="two/model.tar.gz", Body=packed.getvalue())
    source = {"S3Uri": "s3://data-of-fleet/one/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    plain = cloud.model("", {"ModelDataSource": {"S3DataSource": source}}, VERSION="plain")
    archived = cloud.model("", {"ModelDataUrl": "s3://data-of-fleet/two/model.tar.gz"}, VERSION="archived")
    variants = {"VariantName": "plain", "ModelName": plain}, {"VariantName": "archived", "ModelName": archived}
    assert cloud.create("served", cloud.config(*variants))["EndpointStatus"] == "InService"
    files = {}
    for instance in cloud.instances("served"):
        folder = cloud.twin.home / "hosting/workers" / instance["instance"] / "root/opt/ml/model"
        files[instance["variant"]] = [str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()]
        assert cloud.ask("served", TargetVariant=instance["variant"])["text"] == instance["variant"]
    assert files == {"plain": ["weights/w.bin"], "archived": ["deep/w.bin"]}
    assert {"version plain starts", "version archived starts"} <= set(cloud.lines("served"))


def test_requests_are_counted(cloud: Cloud) -> None:
    cloud.create("counted", cloud.of_version("1"))
    for _ in range(3):
        cloud.ask("counted")
    with pytest.raises(ClientError):
        cloud.twin.client("sagemaker-runtime").invoke_endpoint(EndpointName="counted", Body=b"fail")

    def total(name: str, statistic: str = "Sum") -> float:
        dimensions = [{"Name": "EndpointName", "Value": "counted"}, {"Name": "VariantName", "Value": "main"}]
        now = time.time()
        found = cloud.twin.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker", MetricName=name, Dimensions=dimensions, Period=3600,
            StartTime=now - 3600, EndTime=now + 3600, Statistics=[statistic],
        )["Datapoints"]  # fmt: skip
        return sum(point[statistic] for point in found)

    until(lambda: total("Invocations") == 4)
    assert (total("Invocation5XXErrors"), total("Invocation4XXErrors"), total("InvocationsPerInstance")) == (1, 0, 4)
    assert total("ModelLatency", "Minimum") > 100  # microseconds


def test_a_container_that_ends_fails_its_endpoint_with_its_last_lines_in_the_log(cloud: Cloud) -> None:
    found = cloud.create("crashing", cloud.of_version("1", CRASH="no weights here"))
    assert found["EndpointStatus"] == "Failed"
    assert found["FailureReason"].startswith(FAILED_PING)
    assert "no weights here" in cloud.lines("crashing")
    until(lambda: not cloud.instances("crashing"))


@pytest.mark.parametrize(
    "fault",
    [{"kind": "silent"}, {"kind": "bad_image"}, {"kind": "slow_start", "seconds": 3600}],
    ids=lambda fault: fault["kind"],
)
def test_a_fault_of_an_image_fails_the_endpoint(cloud: Cloud, fault: dict[str, Any]) -> None:
    cloud.twin.fault(image="process:echo*", **fault)
    found = cloud.create("faulty", cloud.of_version("1"))
    assert (found["EndpointStatus"], found["FailureReason"][: len(FAILED_PING)]) == ("Failed", FAILED_PING)


def test_an_image_that_nobody_built_is_told(cloud: Cloud) -> None:
    unknown = cloud.model("process:echo@sha256:" + "5" * 64)
    found = cloud.create("unknown", cloud.config({"ModelName": unknown}))
    assert found["EndpointStatus"] == "Failed"
    assert "is not built on this machine" in found["FailureReason"]


def test_an_update_whose_containers_fail_leaves_the_old_ones(cloud: Cloud, load: Callable[[str], Load]) -> None:
    cloud.create("kept", cloud.of_version("1"))
    running = load("kept")
    found = cloud.update("kept", cloud.of_version("2", CRASH="bad"))
    assert found["EndpointStatus"] == "InService"
    assert found["FailureReason"].startswith(FAILED_PING)
    running.stop()
    assert set(running.answers) == {"1"}


def test_an_update_that_is_rolled_back_silently_leaves_the_old_ones(cloud: Cloud) -> None:
    cloud.create("silent", cloud.of_version("1"))
    cloud.twin.fault("rollback", endpoint="silent")
    assert "FailureReason" not in cloud.update("silent", cloud.of_version("2"))
    assert cloud.ask("silent")["text"] == "1"
    until(lambda: len(cloud.instances("silent")) == 1)


def test_weights_are_kept_exactly_and_can_be_changed(cloud: Cloud) -> None:
    one, two = cloud.model(VERSION="1"), cloud.model(VERSION="2")
    variants = [
        {"VariantName": "one", "ModelName": one, "InitialVariantWeight": 3.0},
        {"VariantName": "two", "ModelName": two, "InitialVariantWeight": 1.0},
    ]
    cloud.create("weighed", cloud.config(*variants))
    assert Counter(cloud.ask("weighed")["text"] for _ in range(8)) == {"1": 6, "2": 2}
    assert cloud.ask("weighed", TargetVariant="two")["InvokedProductionVariant"] == "two"
    cloud.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="weighed", DesiredWeightsAndCapacities=[{"VariantName": "one", "DesiredWeight": 0.0}]
    )
    await_status(cloud.twin, "weighed", "InService")
    assert {cloud.ask("weighed")["text"] for _ in range(4)} == {"2"}


def test_capacity_is_of_real_containers(cloud: Cloud, load: Callable[[str], Load]) -> None:
    cloud.create("scaled", cloud.of_version("1"))
    running = load("scaled")

    def scale(count: int) -> dict[str, Any]:
        wanted = [{"VariantName": "main", "DesiredInstanceCount": count}]
        cloud.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="scaled", DesiredWeightsAndCapacities=wanted
        )
        return await_status(cloud.twin, "scaled", "InService")

    assert scale(3)["ProductionVariants"][0]["CurrentInstanceCount"] == 3
    found = cloud.instances("scaled")
    assert len({each["pid"] for each in found} - {0}) == 3
    assert [each["state"] for each in found] == ["in service"] * 3
    cloud.twin.fault("capacity", instance_type="ml.m5.xlarge", times=1)
    refused = scale(4)
    assert "InsufficientInstanceCapacity" in refused["FailureReason"]
    assert refused["ProductionVariants"][0]["DesiredInstanceCount"] == 3
    scale(1)
    until(lambda: len(cloud.instances("scaled")) == 1)
    running.stop()


def test_a_scaling_policy_follows_the_requests(cloud: Cloud, load: Callable[[str], Load]) -> None:
    cloud.create("followed", cloud.of_version("1"))
    scaling = cloud.twin.client("application-autoscaling")
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/followed/variant/main",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=2)
    metric = {"PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"}
    tracking = {"TargetValue": 0.5, "PredefinedMetricSpecification": metric}
    scaling.put_scaling_policy(
        **target,
        PolicyName="requests",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={**tracking, "ScaleInCooldown": 0, "ScaleOutCooldown": 0},
    )
    running = load("followed")
    until(lambda: len({each["pid"] for each in cloud.instances("followed")} - {0}) == 2)
    running.stop()
    until(lambda: len(cloud.instances("followed")) == 1)


def test_containers_come_and_go_with_the_setting(cloud: Cloud) -> None:
    cloud.create("told", cloud.of_version("1"))
    cloud.twin.ask("PUT", "settings", {"containers": "none"})
    until(lambda: not cloud.instances("told"))
    with pytest.raises(ClientError, match="runs no containers"):
        cloud.ask("told")
    cloud.twin.ask("PUT", "settings", {"containers": "run"})
    until(lambda: [each["state"] for each in cloud.instances("told")] == ["in service"])
    assert cloud.ask("told")["text"] == "1"


@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        (blue_green(wait=60), "at once"),
        ({"RollingUpdatePolicy": {"MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
                                  "WaitIntervalInSeconds": 60}}, "rolling"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_an_update_loses_no_request(
    cloud: Cloud, load: Callable[[str], Load], policy: dict[str, Any], shown: str
) -> None:
    cloud.create("updated", cloud.of_version("1", count=2))
    running = load("updated")
    until(lambda: running.saw("1"))
    found = cloud.update("updated", cloud.of_version("2", count=2), **policy)
    assert (found["EndpointStatus"], found.get("FailureReason")) == ("InService", None), shown
    until(lambda: len(cloud.instances("updated")) == 2)
    assert {cloud.ask("updated")["text"] for _ in range(4)} == {"2"}


@pytest.mark.scorecard("bad-canary")
def test_a_canary_goes_back_on_an_alarm(cloud: Cloud, load: Callable[[str], Load]) -> None:
    rollback = cloud.alarm("canary-alarm", Namespace="Tests", MetricName="Fine")
    cloud.create("watched", cloud.of_version("1", count=2))
    running = load("watched")
    policy = blue_green("CANARY", 3600, CanarySize={"Type": "INSTANCE_COUNT", "Value": 1})
    config = cloud.of_version("2", count=2)
    cloud.sagemaker.update_endpoint(
        EndpointName="watched", EndpointConfigName=config, DeploymentConfig=policy | rollback
    )
    until(lambda: running.saw("2", 20))
    share = running.answers[running.answers.index("2") :]
    assert 0.3 < share.count("2") / len(share) < 0.7
    datum = {"MetricName": "Fine", "Value": 0.0}
    cloud.twin.client("cloudwatch").put_metric_data(Namespace="Tests", MetricData=[datum])
    found = await_status(cloud.twin, "watched", "InService")
    assert "canary-alarm" in found["FailureReason"]
    running.stop()
    assert {cloud.ask("watched")["text"] for _ in range(4)} == {"1"}
    until(lambda: len(cloud.instances("watched")) == 2)


def test_the_quality_that_a_container_logs_rolls_its_update_back(cloud: Cloud, load: Callable[[str], Load]) -> None:
    cloud.create("judged", cloud.of_version("1"))
    cloud.twin.client("logs").put_metric_filter(
        logGroupName="/aws/sagemaker/Endpoints/judged",
        filterName="quality",
        filterPattern='{ $.event = "quality" }',
        metricTransformations=[{"metricName": "Quality", "metricNamespace": "Tests", "metricValue": "$.score"}],
    )
    rollback = cloud.alarm("quality-alarm", Namespace="Tests", MetricName="Quality")
    running = load("judged")
    bad = cloud.of_version("2", SAYS=json.dumps({"event": "quality", "score": 0.25}))
    found = cloud.update("judged", bad, **blue_green(wait=300), **rollback)
    assert "quality-alarm" in found["FailureReason"]
    running.stop()
    assert cloud.ask("judged")["text"] == "1"
    good = cloud.of_version("3", SAYS=json.dumps({"event": "quality", "score": 1.0}))
    assert "FailureReason" not in cloud.update("judged", good, **blue_green(wait=300), **rollback)


def test_a_crashed_container_comes_back_while_the_others_serve(cloud: Cloud) -> None:
    cloud.create("crashed", cloud.of_version("1", count=2))
    cloud.twin.fault("crash", name="crashed")
    until(lambda: sorted(each["restarts"] for each in cloud.instances("crashed")) == [0, 1])
    until(lambda: [each["state"] for each in cloud.instances("crashed")] == ["in service"] * 2)
    assert cloud.ask("crashed")["text"] == "1"


def test_a_killed_twin_finds_its_containers_and_its_update_again(cloud: Cloud) -> None:
    cloud.create("survivor", cloud.of_version("1", count=2))
    pids = {each["pid"] for each in cloud.instances("survivor")}
    cloud.twin.ask("PUT", "settings", {"pace": 600})
    cloud.sagemaker.update_endpoint(
        EndpointName="survivor", EndpointConfigName=cloud.of_version("2"), DeploymentConfig=blue_green(wait=60)
    )
    until(lambda: len(cloud.instances("survivor")) == 3)
    until(lambda: b"PendingDeploymentSummary" in (cloud.twin.home / "state.pickle").read_bytes())
    os.kill(cloud.twin.info.pids["twin"], signal.SIGKILL)
    again = RunningTwin(cloud.twin.home, control.up(cloud.twin.home, judge="off", pace=600, containers="run"))
    cloud.twin.close()
    cloud.twin = again
    assert pids <= {each["pid"] for each in cloud.instances("survivor")}
    os.kill(int((cloud.twin.home / "hosting/supervisord.pid").read_text()), signal.SIGKILL)
    until(lambda: all(each["restarts"] and each["state"] == "in service" for each in cloud.instances("survivor")))
    assert cloud.ask("survivor")["text"] == "1"
    cloud.twin.ask("PUT", "settings", {"pace": 2})
    found = await_status(cloud.twin, "survivor", "InService")
    assert "FailureReason" not in found
    until(lambda: len(cloud.instances("survivor")) == 1)
    cloud.twin.ask("PUT", "settings", {"pace": 0.2})
    assert cloud.ask("survivor")["text"] == "2"


def test_down_and_reset_leave_nothing(cloud: Cloud) -> None:
    home = cloud.twin.home
    cloud.create("ended", cloud.of_version("1", count=2))
    assert len(of_home(home)) == 2
    os.kill(cloud.twin.info.pids["twin"], signal.SIGKILL)
    control.down(home)
    assert of_home(home) == []
    cloud.twin.close()
    cloud.twin = RunningTwin(home, control.up(home, judge="off", pace=0.2, containers="run"))
    await_status(cloud.twin, "ended", "InService")
    assert cloud.ask("ended")["text"] == "1"
    control.reset(home)
    assert of_home(home) == []
    cloud.endpoints.clear()
    until(lambda: not (home / "hosting/supervisord.pid").exists())
    cloud.role = made_role(cloud.twin, "serving")


def test_the_serving_image_serves_a_version_of_the_store(cloud: Cloud, tmp_path: Path) -> None:
    version = copy_model(tiny_model(), tmp_path / "version")
    sha256 = sign_version(version, tmp_path)
    s3 = cloud.twin.client("s3")
    s3.create_bucket(Bucket="store-of-fleet")
    for file in (f for f in version.rglob("*") if f.is_file()):
        s3.upload_file(str(file), "store-of-fleet", f"models/{file.relative_to(version)}")
    source = {"S3Uri": "s3://store-of-fleet/models/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    model = cloud.model(
        build("serving"),
        {"ModelDataSource": {"S3DataSource": source}},
        LLMOPS_AUTH="platform",
        LLMOPS_PLATFORM="sagemaker",
        LLMOPS_MODEL_NAME="tiny@1",
        LLMOPS_MODEL_SHA256=sha256,
        LLMOPS_PUBLIC_KEY=(tmp_path / "signing.pub").read_text(),
    )
    found = cloud.create("chat", cloud.config({"ModelName": model}))
    assert (found["EndpointStatus"], found.get("FailureReason")) == ("InService", None)
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    answer = cloud.twin.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="chat", ContentType="application/json", Body=json.dumps(body)
    )
    assert json.loads(answer["Body"].read())["usage"]["completion_tokens"] == 4
    assert any('"event": "quality"' in line for line in cloud.lines("chat"))
