"""A run as a script for the SageMaker Python SDK (v3): text; nothing of that SDK is imported here."""

import pprint
import textwrap
from collections.abc import Mapping
from typing import Any

from contract.layout import run_key
from contract.run import RUN_VARIABLE

_WIDTH = 110
_LONGEST_ID = 63
_SUFFIX = "-sdk"


def modeltrainer_script(request: Mapping[str, Any], *, run: str, region: str, stack: str, job: str) -> str:
    """A Python program that starts the same job with ModelTrainer, as a run of its own.

    Args:
        request: the CreateTrainingJob request of the run.
        run: its id.
        region: where its stack lives.
        stack: the stack's name.
        job: what the names of its jobs begin with.
    """
    spec = next(c for c in request["InputDataConfig"] if c["ChannelName"] == "spec")
    work = spec["DataSource"]["S3DataSource"]["S3Uri"].removeprefix("s3://").partition("/")[0]
    again = f"{run[: _LONGEST_ID - len(_SUFFIX)]}{_SUFFIX}"
    place = f"s3://{work}/{run_key(again)}"
    algorithm, resources = request["AlgorithmSpecification"], request["ResourceConfig"]
    return _SCRIPT.format(
        run=run,
        again=again,
        stack=stack,
        region=region,
        work=work,
        image=algorithm["TrainingImage"],
        role=request["RoleArn"],
        job=f"{job}{_SUFFIX}",
        channels=_calls(_channel(c) for c in request["InputDataConfig"]),
        output=_arguments(
            s3_output_path=f"{place}/output",
            kms_key_id=request["OutputDataConfig"].get("KmsKeyId") or None,
            compression_type=request["OutputDataConfig"]["CompressionType"],
        ),
        checkpoints=repr(f"{place}/checkpoints"),
        compute=_arguments(
            instance_type=resources["InstanceType"],
            instance_count=resources["InstanceCount"],
            volume_size_in_gb=resources["VolumeSizeInGB"],
            volume_kms_key_id=resources.get("VolumeKmsKeyId"),
            keep_alive_period_in_seconds=resources.get("KeepAlivePeriodInSeconds"),
            enable_managed_spot_training=request["EnableManagedSpotTraining"],
        ),
        stopping=_arguments(
            max_runtime_in_seconds=request["StoppingCondition"]["MaxRuntimeInSeconds"],
            max_wait_time_in_seconds=request["StoppingCondition"].get("MaxWaitTimeInSeconds"),
        ),
        networking=_arguments(
            enable_network_isolation=request["EnableNetworkIsolation"],
            enable_inter_container_traffic_encryption=request["EnableInterContainerTrafficEncryption"],
            subnets=request.get("VpcConfig", {}).get("Subnets"),
            security_group_ids=request.get("VpcConfig", {}).get("SecurityGroupIds"),
        ),
        environment=pprint.pformat({**request.get("Environment", {}), RUN_VARIABLE: again}, width=_WIDTH),
        tags=_calls(f"Tag(key={t['Key']!r}, value={t['Value']!r})" for t in request.get("Tags", [])),
        metrics=_calls(
            f"MetricDefinition(name={m['Name']!r}, regex={m['Regex']!r})"
            for m in algorithm.get("MetricDefinitions", [])
        ),
    )


def _channel(channel: Mapping[str, Any]) -> str:
    uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
    return f"InputData(channel_name={channel['ChannelName']!r}, data_source={uri!r})"


def _calls(calls: Any) -> str:
    """A list, an item a line."""
    return "[\n" + textwrap.indent("".join(f"{call},\n" for call in calls), "    ") + "]"


def _arguments(**values: Any) -> str:
    """Keyword arguments, one a line; those that are None are left out."""
    lines = "".join(f"{name}={value!r},\n" for name, value in values.items() if value is not None)
    return "\n" + textwrap.indent(lines, " " * 8) + "    "


_SCRIPT = '''\
"""Run {run} of stack {stack}, started anew by the SageMaker Python SDK: same recipe, data, base model and image.

Written by `llmops export sagemaker`. It needs `pip install 'sagemaker>=3'` and AWS credentials that may pass the role
and start jobs; nothing of the kit. Its result is a run of its own, {again}: a complete, unsigned model
version below s3://{work}/runs/{again}/output. The kit does not collect it: what is to be promoted comes
from `llmops train`, which signs.
"""

import boto3
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.shapes import MetricDefinition, StoppingCondition, Tag
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import CheckpointConfig, Compute, InputData, Networking, OutputDataConfig

# The work bucket of the stack stands for the SDK's own default bucket, which it would make otherwise.
session = Session(boto3.Session(region_name={region!r}), default_bucket={work!r})

# spec: the recipe, resolved (run.json); dataset and base_model: versions in the stack's store, named by content.
channels = {channels}

trainer = ModelTrainer(
    sagemaker_session=session,
    base_job_name={job!r},
    training_image={image!r},
    role={role!r},
    compute=Compute({compute}),
    # No way out of the container, and what nodes say to each other is encrypted.
    networking=Networking({networking}),
    stopping_condition=StoppingCondition({stopping}),
    # Files, not an archive: a model version is a folder.
    output_data_config=OutputDataConfig({output}),
    # The run's id, by which the version will name it.
    environment={environment},
    tags={tags},
)
# Copied here while it trains; a job with the same place goes on from the last one.
trainer = trainer.with_checkpoint_config(CheckpointConfig(s3_uri={checkpoints}))
# Of the trainer's progress lines, as CloudWatch is to read them.
trainer = trainer.with_metric_definitions({metrics})

if __name__ == "__main__":
    trainer.train(input_data_config=channels, wait=True, logs=True)
'''
