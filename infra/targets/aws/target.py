"""The target `aws`: which resources a stack on AWS has."""

from typing import Any

from infra.components import ModelEndpointArgs, ModelStoreArgs, TrainingArgs
from infra.settings import Settings
from infra.targets.aws.components import ModelEndpoint, ModelStore, Training
from infra.targets.aws.resolve import AwsResolved, resolve
from infra.targets.aws.resources.identity import AwsRole, declare_endpoint_role
from infra.targets.aws.resources.observe import declare_dashboard
from infra.targets.outputs import OutputFields, endpoint_output, stack_outputs


class AwsTarget:
    """Everything in one account and region; see infra.targets.target.Target."""

    def resolve(self, settings: Settings) -> AwsResolved:
        """See infra.targets.target.Target."""
        return resolve(settings)

    def declare(self, resolved: AwsResolved) -> OutputFields:
        """See infra.targets.target.Target."""
        settings = resolved.settings
        store_args = ModelStoreArgs(settings=settings.aws, expires=settings.expires)
        store = ModelStore("store", store_args, resolved=resolved)
        training_args = TrainingArgs(store=store, images=settings.images)
        training = Training("training", training_args, resolved=resolved)
        of_endpoints = store.context.below(None)  # shared by all of them
        role = declare_endpoint_role(of_endpoints, settings.aws, store.scope(settings))
        declare_dashboard(of_endpoints, list(settings.endpoints))
        return stack_outputs(
            settings,
            resolved.names.stack,
            resolved.names.project,
            store=store.url,
            private_key=store.signing_key,
            public_key=store.public_key,
            training_image=training.image,
            runs=store.runs,
            endpoints=_endpoints(resolved, store, role),
            expires=settings.expires,
            aws=_outputs(settings, store, training, role),
        )


def _endpoints(resolved: AwsResolved, store: ModelStore, role: AwsRole) -> OutputFields:
    """Declare the endpoints; their outputs."""
    found: OutputFields = {}
    for name, entry in resolved.settings.endpoints.items():
        args = ModelEndpointArgs(store=store, endpoint=entry, images=resolved.settings.images, shared=role)
        made = ModelEndpoint(name, args, resolved=resolved)
        found[name] = endpoint_output(entry, made.url, made.image, mode=entry.mode)
    return found


def _outputs(settings: Settings, store: ModelStore, training: Training, role: AwsRole) -> dict[str, Any]:
    """Returns this target's own fields of the stack's outputs."""
    stack = store.context
    roles = {"training": training.role.arn, "endpoint": role.arn, "scheduler": training.scheduler_role.arn}
    return {
        "account": stack.account,
        "region": stack.region,
        "partition": stack.caller.partition,
        "twin": bool(stack.caller.twin),
        "endpoints": {name: stack.names.of(name) for name in settings.endpoints},
        "kms_key": store.key_arn,
        "roles": roles,
        "repositories": store.repositories.urls,
        "network": store.network.ids,
        "model_package_group": training.model_package_group,
        "work_bucket": store.storage.work.name,
        "alarms_topic": store.topic.arn,
        "jobs": settings.aws.jobs.model_dump(),
        "job_prefix": stack.job_prefix,
        "tags": stack.job_tags,
        "serving_image": settings.images.serving,
    }
