"""The model package group, and scheduled runs: EventBridge Scheduler starts their jobs directly.

A run itself is an event, never a resource.
https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
"""

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_aws import sagemaker, scheduler

from llmops_kit.clouds.aws.job_requests import JobPlace, training_job
from llmops_kit.core.documents.run import RunSpec, StoredSpec
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import SPEC, schedule_key
from llmops_kit.infra.targets.aws.providers.scheduled_spec import AwsScheduledSpec
from llmops_kit.infra.targets.aws.resources.context import AwsContext
from llmops_kit.infra.targets.aws.resources.identity import AwsRole
from llmops_kit.infra.targets.aws.resources.network import AwsNetwork
from llmops_kit.infra.targets.aws.resources.storage import AwsStorage
from llmops_kit.settings.resolved import ResolvedSchedule

_EXECUTION = "<aws.scheduler.execution-id>"  # replaced by the scheduler


def declare_group(stack: AwsContext) -> sagemaker.ModelPackageGroup:
    """Declare the model package group: `llmops models register` copies versions there, for other tools."""
    return sagemaker.ModelPackageGroup(
        stack.names.kept("model-group"),
        model_package_group_name=stack.names.of("models"),
        model_package_group_description=f"Versions of {stack.project}, stack {stack.name}",
        opts=stack.options(protect=True),
    )


def declare_schedules(
    stack: AwsContext,
    schedules: Mapping[str, ResolvedSchedule],
    specs: dict[str, RunSpec],
    storage: AwsStorage,
    network: AwsNetwork,
    training: AwsRole,
    starting: AwsRole,
) -> None:
    """Declare the schedules, in the stack's own group; jobs have the role `training`, and the scheduler starts them
    with the role `starting`.
    """
    if not specs:
        return
    group = scheduler.ScheduleGroup(stack.names.logical("schedules"), name=stack.schedule_group, opts=stack.options())
    for name, spec in specs.items():
        schedule = schedules[name]
        folder = schedule_key(name, schedule.run)
        content = spec.to_json()
        kept = AwsScheduledSpec(
            stack.names.logical(f"schedule-{name}-spec"),
            stack.location,
            stack.after(*storage.work.ready),
            bucket=storage.work.name,
            key=f"{folder}/{SPEC}",
            content=content,
        )
        stored = StoredSpec(folder, sha256_bytes(content.encode()))
        job = _job(stack, spec, stored, storage, network, training)
        scheduler.Schedule(
            stack.names.logical(f"schedule-{name}"),
            name=stack.names.of(name),
            group_name=group.name,
            schedule_expression=schedule.cron,
            schedule_expression_timezone=schedule.timezone,
            state="ENABLED" if schedule.on else "DISABLED",
            kms_key_arn=storage.key_arn,
            flexible_time_window={"mode": "OFF"},
            target={
                "arn": f"arn:{stack.caller.partition}:scheduler:::aws-sdk:sagemaker:createTrainingJob",
                "role_arn": starting.arn,
                "input": pulumi.Output.json_dumps(job),
                # AWS would refuse an invalid job again: two retries cover its transient errors.
                "retry_policy": {"maximum_event_age_in_seconds": 3600, "maximum_retry_attempts": 2},
            },
            opts=stack.options(depends_on=[kept, *starting.ready, *training.ready, *network.ready]),
        )


def _job(
    stack: AwsContext, spec: RunSpec, stored: StoredSpec, storage: AwsStorage, network: AwsNetwork, training: AwsRole
) -> pulumi.Output[dict[str, Any]]:
    run = f"{stack.job_prefix}-{_EXECUTION}"
    values = {
        "role": training.arn,
        "key": storage.key_arn,
        "store": storage.store.name,
        "work": storage.work.name,
        "subnets": network.subnets,
        "security_groups": network.security_groups,
    }
    return pulumi.Output.all(**values).apply(
        lambda known: training_job(run, run, spec, stored, JobPlace(**known, tags=stack.job_tags))
    )
