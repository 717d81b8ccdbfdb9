"""The kit's own training image as a job of two instances, which find each other and train together."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops_kit.core.layout import MANIFEST
from llmops_kit.local_runtime.process_images import build
from tests.support.runs.training import make_container, tiny_recipe, write_rows
from tests.support.tiny_models.models import tiny_model
from twins.tests.support.aws import RunningTwin, made_role, running_twin
from twins.tests.support.aws_jobs import WORK, begin, body, channel, ended, keys, log_lines, prepare


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[RunningTwin]:
    with running_twin(tmp_path / "twin", containers="run", pace=0.1) as found:
        yield found


@pytest.mark.long
def test_two_instances_train_one_model(twin: RunningTwin, tmp_path: Path) -> None:
    prepare(twin)
    write_rows(tmp_path / "data")
    recipe = tiny_recipe(epochs=1, batch_size=2)
    folders = make_container(tmp_path / "container", tiny_model(), recipe, tmp_path / "data")
    for file in folders.spec.parents[1].rglob("*"):
        if file.is_file():
            key = f"channels/{file.relative_to(folders.spec.parents[1])}"
            twin.client("s3").put_object(Bucket=WORK, Key=key, Body=file.read_bytes())
    name = begin(
        twin,
        made_role(twin, "training"),
        "together",
        "",
        algorithm={
            "TrainingImage": build("training"),
            "MetricDefinitions": [{"Name": "loss", "Regex": r"step=\d+ .*\bloss=([0-9.]+)"}],
        },
        InputDataConfig=[channel(each, f"channels/{each}/") for each in ("spec", "dataset", "base_model")],
        ResourceConfig={"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30},
        CheckpointConfig={"S3Uri": f"s3://{WORK}/checkpoints/together"},
    )
    job = ended(twin, name)
    said = log_lines(twin, name)
    assert job["TrainingJobStatus"] == "Completed", (job.get("FailureReason"), said[-20:])
    manifest = json.loads(body(twin, f"out/{name}/output/model/{MANIFEST}"))
    left = keys(twin, f"out/{name}/output/model/")
    assert sorted(left) == sorted([MANIFEST, *manifest["files"]])
    assert keys(twin, "checkpoints/together/")
    assert job["FinalMetricDataList"][0]["Value"] > 0
    assert not any("loss=" in line for line in log_lines(twin, name, "algo-2"))
