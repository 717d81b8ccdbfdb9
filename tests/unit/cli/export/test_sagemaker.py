"""The program that a run is written as: it is Python, and says the request's own values. It runs in tests/emulated."""

import ast
from typing import Any

import pytest

from llmops_kit.cli.export.sagemaker import modeltrainer_script

KEY = "arn:aws:kms:eu-central-1:123456789012:key/k"
RUN = "s3://work/runs/chatbot-1"


def channel(name: str, uri: str) -> dict[str, Any]:
    return {"ChannelName": name, "DataSource": {"S3DataSource": {"S3Uri": uri}}}


def request(**more: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": "llmops-dev-run-chatbot-1",
        "RoleArn": "arn:aws:iam::123456789012:role/training",
        "AlgorithmSpecification": {
            "TrainingImage": "image@sha256:1",
            "MetricDefinitions": [{"Name": "loss", "Regex": r"\bloss=([0-9.]+) \"x\""}],
        },
        "InputDataConfig": [channel("spec", f"{RUN}/input/spec/"), channel("dataset", "s3://store/datasets/1/")],
        "OutputDataConfig": {"S3OutputPath": f"{RUN}/output", "KmsKeyId": KEY, "CompressionType": "NONE"},
        "CheckpointConfig": {"S3Uri": f"{RUN}/checkpoints"},
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 50},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "EnableManagedSpotTraining": False,
        "EnableNetworkIsolation": True,
        "EnableInterContainerTrafficEncryption": True,
        "Tags": [{"Key": "team", "Value": 'the "best"'}],
        **more,
    }


def calls(text: str) -> dict[str, list[dict[str, Any]]]:
    """Name of what is called -> keyword arguments that are plain values, a call each."""
    found: dict[str, list[dict[str, Any]]] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            plain = {k.arg or "": ast.literal_eval(k.value) for k in node.keywords if _is_plain(k.value)}
            found.setdefault(node.func.id, []).append(plain)
    return found


def _is_plain(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def script(**more: Any) -> str:
    return modeltrainer_script(
        request(**more), run="chatbot-1", region="eu-central-1", stack="dev", job="llmops-dev-run"
    )


def test_it_says_what_the_request_says() -> None:
    found = calls(script())
    (trainer,) = found["ModelTrainer"]
    assert trainer["role"] == "arn:aws:iam::123456789012:role/training"
    assert trainer["training_image"] == "image@sha256:1"
    assert trainer["environment"] == {"LLMOPS_RUN": "chatbot-1-sdk"}
    assert found["Compute"] == [
        {
            "instance_type": "ml.g5.xlarge",
            "instance_count": 2,
            "volume_size_in_gb": 50,
            "enable_managed_spot_training": False,
        }
    ]
    assert found["MetricDefinition"] == [{"name": "loss", "regex": r"\bloss=([0-9.]+) \"x\""}]
    assert found["Tag"] == [{"key": "team", "value": 'the "best"'}]
    assert [c["channel_name"] for c in found["InputData"]] == ["spec", "dataset"]
    assert found["Networking"][0] == {
        "enable_network_isolation": True,
        "enable_inter_container_traffic_encryption": True,
    }


def test_it_writes_beside_the_run_and_not_into_it() -> None:
    found = calls(script())
    assert found["OutputDataConfig"][0]["s3_output_path"] == "s3://work/runs/chatbot-1-sdk/output"
    assert found["CheckpointConfig"] == [{"s3_uri": "s3://work/runs/chatbot-1-sdk/checkpoints"}]
    assert found["Session"][0]["default_bucket"] == "work"


@pytest.mark.parametrize(
    ("more", "name", "said"),
    [
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 2}},
            "StoppingCondition",
            {"max_runtime_in_seconds": 1, "max_wait_time_in_seconds": 2},
        ),
        (
            {"VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}},
            "Networking",
            {
                "enable_network_isolation": True,
                "enable_inter_container_traffic_encryption": True,
                "subnets": ["subnet-1"],
                "security_group_ids": ["sg-1"],
            },
        ),
    ],
)
def test_what_not_every_run_has(more: dict[str, Any], name: str, said: dict[str, Any]) -> None:
    assert calls(script(**more))[name] == [said]
