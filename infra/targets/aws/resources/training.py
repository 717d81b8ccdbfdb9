"""Where runs execute, and the ones that are repeated: EventBridge Scheduler starts their jobs directly.

A run itself is an event, never a resource. https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
"""

import json
from functools import partial
from typing import Any

import pulumi
from pulumi_aws import sagemaker, scheduler
from pydantic import ValidationError

from clouds.aws.jobs import JobPlace, job_name, training_job
from clouds.aws.settings import Schedule
from contract.documents.run import (
    SPEC_VARIABLE,
    Compute,
    RunSpec,
    StoredSpec,
)
from contract.documents.validation import first_message
from contract.integrity.digest import sha256_bytes
from contract.layout import SPEC, run_spec_key, schedule_key
from infra import names
from infra.names import CloudNames
from infra.schedules import proven_spec
from infra.settings import setting_error
from infra.targets.aws.resources.identity import Roles, job_prefix, schedule_group
from infra.targets.aws.resources.network import Network
from infra.targets.aws.resources.stack import Here
from infra.targets.aws.resources.storage import Storage, read_object
from infra.targets.aws.scheduled_spec import ScheduledSpec
from infra.targets.aws.session import Place, client, error_code, explained

_EXECUTION = "<aws.scheduler.execution-id>"  # the scheduler writes an id there


def read_specs(place: Place, bucket: str, schedules: dict[str, Schedule], own: CloudNames) -> dict[str, str]:
    """The spec of each schedule's run, as JSON. Jobs may write where runs lie: a spec counts only if the request of the
    run's job names its sha256, or the schedule that repeats it.

    Raises:
        SettingError: there is no such run, or what is there is not what was submitted.
    """
    found = {}
    for name, schedule in schedules.items():
        wanted = (
            (run_spec_key(schedule.run), partial(_of_job, place, job_name(own.of("run", 26), schedule.run))),
            (f"{schedule_key(name, schedule.run)}/{SPEC}", partial(_of_schedule, place, own, name)),
        )
        setting = ("aws", "schedules", name, "run")
        read = partial(read_object, place, bucket)
        found[name] = proven_spec(setting, schedule.run, f"s3://{bucket}", read, wanted)
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
        spec = _spec(here, name, schedule, text)
        content = spec.to_json()
        kept = ScheduledSpec(
            f"schedule-{name}-spec",
            here.place,
            bucket=storage.work.name,
            key=f"{folder}/{SPEC}",
            content=content,
            after=storage.work.ready,
        )
        stored = StoredSpec(folder, sha256_bytes(content.encode()))
        job = _job(here, spec, stored, storage, network, roles)
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


def _of_job(place: Place, name: str) -> str:
    """The sha256 of the spec that a job was submitted with; empty: there is no such job, or an older kit's."""
    from botocore.exceptions import ClientError

    with explained(f"job {name}"):
        try:
            job = client("sagemaker", place).describe_training_job(TrainingJobName=name)
        except ClientError as e:
            if error_code(e) in ("ValidationException", "ResourceNotFound"):
                return ""
            raise
    return job.get("Environment", {}).get(SPEC_VARIABLE, "")


def _of_schedule(place: Place, own: CloudNames, name: str) -> str:
    """The sha256 of the spec that a schedule repeats; empty: there is no such schedule, or an older kit's."""
    from botocore.exceptions import ClientError

    with explained(f"schedule {name}"):
        try:
            found = client("scheduler", place).get_schedule(GroupName=own.of("schedules"), Name=own.of(name))
        except ClientError as e:
            if error_code(e) == "ResourceNotFoundException":
                return ""
            raise
    return json.loads(found["Target"]["Input"]).get("Environment", {}).get(SPEC_VARIABLE, "")


def _spec(here: Here, name: str, schedule: Schedule, text: str) -> RunSpec:
    """What a schedule repeats: a run's inputs, in the stack's image, on the machines that the settings say."""
    jobs = here.settings.aws.jobs
    own = {"instance_type": schedule.instance_type, "max_hours": schedule.max_hours}
    given = jobs.model_dump() | {key: value for key, value in own.items() if value}
    try:
        compute = Compute.model_validate(given)
    except ValidationError as e:
        what = f"with `jobs`: {first_message(e)}"
        raise setting_error(("aws", "schedules", name), what, "change one of the two") from None
    spec = RunSpec.parse(text, where=f"run {schedule.run}")
    return spec.model_copy(update={"image": here.settings.images.training, "compute": compute})


def _job(
    here: Here, spec: RunSpec, stored: StoredSpec, storage: Storage, network: Network, roles: Roles
) -> pulumi.Output[dict[str, Any]]:
    run = f"{job_prefix(here)}-{_EXECUTION}"
    values = {
        "role": roles.training.arn,
        "key": storage.key_arn,
        "store": storage.store.name,
        "work": storage.work.name,
        "subnets": network.subnets,
        "security_groups": network.security_groups,
    }
    return pulumi.Output.all(**values).apply(
        lambda known: training_job(run, run, spec, stored, JobPlace(**known, tags=here.job_tags))
    )
