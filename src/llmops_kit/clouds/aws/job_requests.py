"""Builds the request that starts a run's job on SageMaker, for submitted and scheduled runs alike.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmops_kit.core.documents.run import RUN_VARIABLE, SPEC_VARIABLE, RunSpec, StoredSpec
from llmops_kit.core.layout import (
    TrainingFolders,
    dataset_key,
    model_key,
    run_checkpoints_key,
    run_evaluation_key,
    run_output_key,
)

METRICS = {
    "loss": r"step=\d+ .*\bloss=([0-9.eE+-]+)",
    "tokens_per_s": r"step=\d+ .*\btokens_per_s=([0-9.]+)",
}
"""Metric's name -> regular expression by which CloudWatch reads it from the trainer's progress lines."""
SPEC_CHANNEL = "spec"
TRAINED_CHANNEL = "trained"
"""Channel of a run's second job: the output of its trainer in the first one."""
INSTANCE_TYPE = re.compile(r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$")
_LONGEST_NAME = 63  # of a job
_LONGEST_END = 20  # of the end of a run's id that distinguishes runs of a recipe: the time and four characters
_ATTEMPT = "-99"
# Families with local disks: SageMaker encrypts them itself, and accepts neither a key nor a size for them.
_LOCAL_DISKS = re.compile(r"^ml\.(g4dn|g5|g[67]e?|gr6|p3dn|p4de?|p5e?n?|p6.*|trn1n?|trn2|[a-z]\d+i?[adegn]*d[a-z]*)\.")
_GPUS = re.compile(r"^ml\.(g|p)r?\d")
_ACCELERATED = re.compile(r"^ml\.((g|p)r?|inf|trn|dl)\d")


@dataclass(frozen=True)
class JobPlace:
    """Role, key, buckets, network and tags of a stack's training jobs."""

    role: str
    key: str  # ARN of the key that encrypts outputs and disks
    store: str  # bucket of versions
    work: str  # bucket of runs
    subnets: list[str] = field(default_factory=list)
    security_groups: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


def training_job(name: str, run: str, spec: RunSpec, stored: StoredSpec, place: JobPlace) -> dict[str, Any]:
    """Returns a CreateTrainingJob request.

    Args:
        name: the job's.
        run: the run's id, which may be another than the spec's: a schedule repeats a spec.
        spec: recipe, inputs and machines. With its own trainer, a run has two jobs.
        stored: where the job finds the spec, and the second of two jobs the output of the first one.
        place: role, buckets and network of the stack's jobs.
    """
    assert spec.compute
    runs = f"s3://{place.work}"
    trainer = None if stored.trained else spec.trainer
    own: dict[str, Any] = {"ContainerEntrypoint": trainer.command} if trainer else {}
    trained = [_channel(TRAINED_CHANNEL, place.work, stored.trained)] if stored.trained else []
    checkpoints = run_evaluation_key(run) if stored.trained else run_checkpoints_key(run)
    environ = TrainingFolders(Path("/")).trainer_environ if trainer else {}
    job = {
        "TrainingJobName": name,
        "RoleArn": place.role,
        "AlgorithmSpecification": {
            "TrainingImage": trainer.image if trainer else spec.image,
            **own,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": n, "Regex": regex} for n, regex in METRICS.items()],
        },
        "InputDataConfig": [
            _channel(SPEC_CHANNEL, place.work, stored.folder),
            _channel("dataset", place.store, dataset_key(spec.dataset.sha256)),
            _channel("base_model", place.store, model_key(spec.base_model.sha256)),
            *trained,
        ],
        # The store keeps files, not archives.
        "OutputDataConfig": {
            "S3OutputPath": f"{runs}/{run_output_key(run)}",
            "KmsKeyId": place.key,
            "CompressionType": "NONE",
        },
        "CheckpointConfig": {"S3Uri": f"{runs}/{checkpoints}"},
        "Environment": environ | {SPEC_VARIABLE: stored.sha256} | ({RUN_VARIABLE: run} if run != spec.id else {}),
        "EnableNetworkIsolation": True,
        "EnableInterContainerTrafficEncryption": True,
        "Tags": [{"Key": key, "Value": value} for key, value in place.tags.items()],
    }
    if place.subnets:
        job["VpcConfig"] = {"Subnets": place.subnets, "SecurityGroupIds": place.security_groups}
    return job | _machines(spec, place)


def job_name(prefix: str, run: str, attempt: int = 1) -> str:
    """Returns the name of a run's job. No name is used twice in an account, so each resumption gets its own.

    Args:
        prefix: of the stack's jobs, to which its roles are limited.
        run: its id; that of a scheduled run is its first job's name.
        attempt: from 1.
    """
    if run.startswith(f"{prefix}-") and attempt == 1:
        return run
    own = run.removeprefix(f"{prefix}-")
    room = _LONGEST_NAME - len(f"{prefix}-{_ATTEMPT}")
    if len(own) > room:
        own = f"{own[: room - _LONGEST_END - 1].rstrip('-')}-{job_ending(run)}"
    return f"{prefix}-{own}" + (f"-{attempt}" if attempt > 1 else "")


def job_ending(run: str) -> str:
    """Returns the end of a run's id, which the names of all its jobs contain; other runs may share it."""
    return run[-_LONGEST_END:].lstrip("-")


def has_local_disks(instance_type: str) -> bool:
    """Returns whether an instance type has local disks."""
    return bool(_LOCAL_DISKS.match(instance_type))


def has_gpus(instance_type: str) -> bool:
    """Returns whether an instance type has NVIDIA GPUs."""
    return bool(_GPUS.match(instance_type))


def is_accelerated(instance_type: str) -> bool:
    """Returns whether an instance type has GPUs or AWS's own accelerators."""
    return bool(_ACCELERATED.match(instance_type))


def _machines(spec: RunSpec, place: JobPlace) -> dict[str, Any]:
    wanted = spec.compute
    assert wanted
    resources: dict[str, Any] = {
        "InstanceType": wanted.instance_type,
        "InstanceCount": wanted.instances,
        "VolumeSizeInGB": wanted.volume_gb,
    }
    if not has_local_disks(wanted.instance_type):
        resources["VolumeKmsKeyId"] = place.key
    if wanted.warm_pool_minutes:
        resources["KeepAlivePeriodInSeconds"] = wanted.warm_pool_minutes * 60
    stopping = {"MaxRuntimeInSeconds": wanted.max_hours * 3600}
    if wanted.spot:
        stopping["MaxWaitTimeInSeconds"] = (wanted.max_wait_hours or 2 * wanted.max_hours) * 3600
    return {"ResourceConfig": resources, "StoppingCondition": stopping, "EnableManagedSpotTraining": wanted.spot}


def _channel(name: str, bucket: str, key: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{key}/", "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}
