"""The target `aws`: which resources a stack on AWS has."""

import pulumi

from clouds.aws.settings import AwsSettings
from infra.settings import Endpoint, Settings
from infra.targets.aws.resolve import AwsResolved, resolve
from infra.targets.aws.resources import observe, training
from infra.targets.aws.resources.context import AwsContext, declare_context
from infra.targets.aws.resources.endpoint import EndpointContext, declare_endpoint
from infra.targets.aws.resources.identity import RoleScope, declare_roles, declare_signing_key
from infra.targets.aws.resources.images import declare_images
from infra.targets.aws.resources.network import declare_network
from infra.targets.aws.resources.storage import declare_storage
from infra.targets.outputs import OutputFields, endpoint_output, stack_outputs


class AwsTarget:
    """Everything in one account and region; see infra.targets.target.Target."""

    def resolve(self, settings: Settings) -> AwsResolved:
        """See infra.targets.target.Target."""
        return resolve(settings)

    def declare(self, resolved: AwsResolved) -> OutputFields:
        """See infra.targets.target.Target."""
        settings, aws = resolved.settings, resolved.settings.aws
        stack = declare_context(resolved.caller, resolved.project, resolved.stack, aws, settings.expires)
        data = declare_storage(stack, aws)
        repositories = declare_images(stack, aws.registry, data.key_arn)
        network = declare_network(stack, aws.network, resolved.zones, data)
        signing = declare_signing_key(stack, aws.signing_key_arn)
        roles = declare_roles(stack, aws, RoleScope(data, repositories, network, settings.endpoints))
        group = training.declare_group(stack)
        training.declare_schedules(stack, aws.schedules, resolved.specs, data, network, roles)
        topic = observe.declare_topic(stack, aws.budget.emails, data.key_arn)
        observe.declare_budget(stack, aws.budget, topic)
        observe.declare_dashboard(stack, list(settings.endpoints))
        shared = EndpointContext(
            data, network, roles.endpoint, signing.public_key, resolved.images, topic.arn, settings
        )
        return stack_outputs(
            settings,
            stack.name,
            stack.project,
            store=pulumi.Output.concat("s3://", data.store.name),
            private_key=pulumi.Output.concat("awskms:///", signing.arn),
            public_key=signing.public_key,
            training_image=settings.images.training,
            runs=pulumi.Output.concat("s3://", data.work.name, "/runs"),
            endpoints=_endpoints(stack, settings.endpoints, aws, shared),
            expires=settings.expires,
            aws={
                "account": stack.account,
                "region": stack.region,
                "partition": stack.caller.partition,
                "twin": bool(stack.caller.twin),
                "endpoints": {name: stack.names.of(name) for name in settings.endpoints},
                "kms_key": data.key_arn,
                "roles": roles.arns,
                "repositories": repositories.urls,
                "network": network.ids,
                "model_package_group": group.model_package_group_name,
                "work_bucket": data.work.name,
                "alarms_topic": topic.arn,
                "jobs": aws.jobs.model_dump(),
                "job_prefix": stack.job_prefix,
                "tags": stack.job_tags,
                "serving_image": settings.images.serving,
            },
        )


def _endpoints(
    stack: AwsContext, entries: dict[str, Endpoint], aws: AwsSettings, shared: EndpointContext
) -> OutputFields:
    """Declare what each entry needs; its outputs."""
    found: OutputFields = {}
    for name, entry in entries.items():
        log = observe.declare_log(stack, name, aws.log_retention_days, shared.storage.key_arn)
        url = declare_endpoint(stack, name, entry, shared, log) if entry.endpoint else ""
        found[name] = endpoint_output(entry, url, shared.image(name), mode=entry.mode)
    return found
