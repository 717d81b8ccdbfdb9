"""Where runs execute, and the ones that are repeated: EventBridge Scheduler starts their jobs directly.

A run itself is an event, never a resource. https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
"""

from typing import Any

import pulumi
from pulumi_aws import sagemaker, scheduler

from contract.layout import SPEC, dataset_key, model_key, run_spec_key, schedule_key
from contract.run import RunSpec
from infra import names
from infra.settings import setting_error
from infra.targets.aws.here import Here
from infra.targets.aws.identity import Roles, job_prefix, schedule_group
from infra.targets.aws.limits import has_local_disks
from infra.targets.aws.network import Network
from infra.targets.aws.scheduled_spec import ScheduledSpec
from infra.targets.aws.session import Place
from infra.targets.aws.settings import Schedule
from infra.targets.aws.storage import Storage, read_object

_EXECUTION = "<aws.scheduler.execution-id>"  # the scheduler writes a UUID there
_VOLUME_GB = 50


def read_specs(place: Place, bucket: str, schedules: dict[str, Schedule]) -> dict[str, str]:
    """The spec of each schedule's run, as JSON.

    Raises:
        SettingError: there is no such run.
    """
    found = {}
    for name, schedule in schedules.items():
        keys = (run_spec_key(schedule.run), f"{schedule_key(name, schedule.run)}/{SPEC}")
        content = next(filter(None, (read_object(place, bucket, key) for key in keys)), None)
        if content is None:
            raise setting_error(
                ("aws", "schedules", name, "run"),
                f"there is no run {schedule.run} in s3://{bucket}",
                "`llmops runs` lists them, `llmops train` makes one",
            )
        found[name] = content.decode()
    return found


def provide_group(here: Here) -> sagemaker.ModelPackageGroup:
    """Declare the group of model packages: a registry that is written from the store, for other tools to read."""
    return sagemaker.ModelPackageGroup(
        names.kept("model-group"),
        model_package_group_name=here.names.of("models"),
        model_package_group_description=f"Versions of {here.project}, stack {here.stack}",
        opts=here.options(protect=True),
    )


def provide_schedules(here: Here, storage: Storage, network: Network, roles: Roles, specs: dict[str, str]) -> None:
    """Declare the schedules, in a group of the stack's own."""
    if not specs:
        return
    group = scheduler.ScheduleGroup("schedules", name=schedule_group(here), opts=here.options())
    for name, text in specs.items():
        schedule = here.settings.aws.schedules[name]
        folder = schedule_key(name, schedule.run)
        kept = ScheduledSpec(
            f"schedule-{name}-spec",
            here.place,
            bucket=storage.work.name,
            key=f"{folder}/{SPEC}",
            content=text,
            after=storage.work.ready,
        )
        job = _job(here, schedule, RunSpec.parse(text, where=f"run {schedule.run}"), folder, storage, network, roles)
        scheduler.Schedule(
            f"schedule-{name}",
            name=here.names.of(name),
            group_name=group.name,
            schedule_expression=schedule.cron,
            schedule_expression_timezone=schedule.timezone,
            state="ENABLED" if schedule.on else "DISABLED",
            kms_key_arn=storage.key_arn,
            flexible_time_window=scheduler.ScheduleFlexibleTimeWindowArgs(mode="OFF"),
            target=scheduler.ScheduleTargetArgs(
                arn=f"arn:{here.caller.partition}:scheduler:::aws-sdk:sagemaker:createTrainingJob",
                role_arn=roles.scheduler.arn,
                input=pulumi.Output.json_dumps(job),
                # A job that AWS refuses now is refused again: two tries are for its own faults.
                retry_policy=scheduler.ScheduleTargetRetryPolicyArgs(
                    maximum_event_age_in_seconds=3600, maximum_retry_attempts=2
                ),
            ),
            opts=here.options(depends_on=[kept, *roles.scheduler.ready, *roles.training.ready, *network.ready]),
        )


def _job(
    here: Here, schedule: Schedule, spec: RunSpec, folder: str, storage: Storage, network: Network, roles: Roles
) -> dict[str, Any]:
    """https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html"""
    name = f"{job_prefix(here)}-{_EXECUTION}"
    runs = pulumi.Output.concat("s3://", storage.work.name, "/runs")
    resources: dict[str, Any] = {
        "InstanceType": schedule.instance_type,
        "InstanceCount": 1,
        "VolumeSizeInGB": _VOLUME_GB,
    }
    if not has_local_disks(schedule.instance_type):
        resources["VolumeKmsKeyId"] = storage.key_arn
    job = {
        "TrainingJobName": name,
        "RoleArn": roles.training.arn,
        "AlgorithmSpecification": {"TrainingImage": here.settings.images.training, "TrainingInputMode": "File"},
        "InputDataConfig": [
            _channel("spec", storage.work.name, folder),
            _channel("dataset", storage.store.name, dataset_key(spec.dataset.sha256)),
            _channel("base_model", storage.store.name, model_key(spec.base_model.sha256)),
        ],
        "OutputDataConfig": {"S3OutputPath": runs, "KmsKeyId": storage.key_arn},
        "CheckpointConfig": {"S3Uri": pulumi.Output.concat(runs, f"/{name}/checkpoints")},
        "ResourceConfig": resources,
        "StoppingCondition": {"MaxRuntimeInSeconds": schedule.max_hours * 3600},
        "EnableNetworkIsolation": True,
        "EnableInterContainerTrafficEncryption": True,
        "Tags": [{"Key": key, "Value": value} for key, value in here.tags.items()],
    }
    if network:
        job["VpcConfig"] = {"Subnets": network.subnets, "SecurityGroupIds": network.security_groups}
    return job


def _channel(name: str, bucket: pulumi.Input[str], key: str) -> dict[str, Any]:
    uri = pulumi.Output.concat("s3://", bucket, f"/{key}/")
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}
