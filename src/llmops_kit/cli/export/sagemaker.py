"""Renders a run as a script for the SageMaker Python SDK (v3), without importing that SDK."""

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from llmops_kit.core.documents.run import RUN_VARIABLE
from llmops_kit.core.layout import run_key

_WIDTH = 118
_LONGEST_ID = 63
_SUFFIX = "-sdk"


def modeltrainer_script(request: Mapping[str, Any], *, run: str, region: str, stack: str, job: str) -> str:
    """Returns a Python program that starts the same job with ModelTrainer, as a separate run.

    Args:
        request: the CreateTrainingJob request of the run.
        run: its id.
        region: of its stack.
        stack: the stack's name.
        job: prefix of the names of its jobs.
    """
    spec = next(c for c in request["InputDataConfig"] if c["ChannelName"] == "spec")
    work = spec["DataSource"]["S3DataSource"]["S3Uri"].removeprefix("s3://").partition("/")[0]
    again = f"{run[: _LONGEST_ID - len(_SUFFIX)]}{_SUFFIX}"
    place = f"s3://{work}/{run_key(again)}"
    algorithm, resources = request["AlgorithmSpecification"], request["ResourceConfig"]
    about = textwrap.fill(_ABOUT.format(again=again, work=work), _WIDTH, break_on_hyphens=False, break_long_words=False)
    return _SCRIPT.format(
        run=run,
        stack=stack,
        about=about,
        region=_literal(region),
        work=_literal(work),
        image=_literal(algorithm["TrainingImage"]),
        role=_literal(request["RoleArn"]),
        job=_literal(f"{job}{_SUFFIX}"),
        channels=_calls((_channel(c) for c in request["InputDataConfig"]), 0),
        output=_arguments(
            s3_output_path=f"{place}/output",
            kms_key_id=request["OutputDataConfig"].get("KmsKeyId") or None,
            compression_type=request["OutputDataConfig"]["CompressionType"],
        ),
        checkpoints=_literal(f"{place}/checkpoints"),
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
        environment=json.dumps({**request.get("Environment", {}), RUN_VARIABLE: again}),
        tags=_calls((_call("Tag", key=t["Key"], value=t["Value"]) for t in request.get("Tags", [])), 4),
        metrics=_calls(
            (_call("MetricDefinition", name=m["Name"], regex=m["Regex"]) for m in algorithm["MetricDefinitions"]), 0
        ),
    )


def _channel(channel: Mapping[str, Any]) -> str:
    uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
    return _call("InputData", channel_name=channel["ChannelName"], data_source=uri)


def _call(what: str, **arguments: str) -> str:
    return f"{what}({', '.join(f'{key}={_literal(value)}' for key, value in arguments.items())})"


def _calls(calls: Iterable[str], column: int) -> str:
    """Returns a list with one item per line."""
    space = " " * column
    return "[\n" + "".join(f"{space}    {call},\n" for call in calls) + f"{space}]"


def _arguments(**values: Any) -> str:
    """Returns keyword arguments, one per line, without those that are None."""
    given = {name: value for name, value in values.items() if value is not None}
    return "\n" + "".join(f"        {name}={_literal(value)},\n" for name, value in given.items()) + "    "


def _literal(value: Any) -> str:
    """Returns a Python literal; texts are in double quotes."""
    return repr(value) if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)


_ABOUT = """\
It needs `pip install 'sagemaker>=3'`, and AWS credentials that may start jobs and pass the role; nothing of the kit. \
Its result is a separate run, {again}: a complete, unsigned model version below s3://{work}/runs/{again}/output. The \
kit does not collect it: only runs of `llmops train`, which signs, can be promoted."""
_SCRIPT = '''\
"""Start run {run} once more, by the SageMaker SDK: same recipe, data, base model and image.

Written by `llmops export sagemaker` for stack {stack}.
{about}
"""

import logging
import os

import boto3

# The stack's role allows only what its jobs need, on the stack's own resources. The SDK's check requires more, on all
# resources, so it is switched off. SageMaker itself still checks the role.
os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")

from sagemaker.core.helper.session_helper import Session
from sagemaker.core.shapes import MetricDefinition, StoppingCondition, Tag
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import CheckpointConfig, Compute, InputData, Networking, OutputDataConfig

# The stack's work bucket, since the SDK would otherwise create its own default bucket.
session = Session(boto3.Session(region_name={region}), default_bucket={work})

# spec: the recipe, resolved (run.json); dataset and base_model: versions in the stack's store, named by content.
channels = {channels}

trainer = ModelTrainer(
    sagemaker_session=session,
    base_job_name={job},
    training_image={image},
    role={role},
    compute=Compute({compute}),
    # The container has no network access, and traffic between nodes is encrypted.
    networking=Networking({networking}),
    stopping_condition=StoppingCondition({stopping}),
    # Files, not an archive: a model version is a folder.
    output_data_config=OutputDataConfig({output}),
    # The run's id, which the version records.
    environment={environment},
    tags={tags},
)
# Checkpoints are copied here during training; a job with the same URI resumes from the last one.
trainer = trainer.with_checkpoint_config(CheckpointConfig(s3_uri={checkpoints}))
# Metrics that CloudWatch reads from the trainer's progress lines.
trainer = trainer.with_metric_definitions({metrics})

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # otherwise the job's lines are not shown
    trainer.train(input_data_config=channels, wait=True, logs=True)
'''
