"""Endpoints start, answer and are counted, or fail with a reason."""

import io
import json
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from llmops_kit.local_runtime.process_images import build
from tests.support.servers.serving import sign_version, until
from tests.support.tiny_models.models import copy_model, tiny_model
from twins.tests.support.aws_fleet import Cloud

FAILED_PING = "The primary container for production variant main did not pass the ping health check."


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
