"""ModelStore, Training and ModelEndpoint on AWS; llmops_kit.infra.components has their arguments."""

from collections.abc import Mapping
from typing import Any

import pulumi

from llmops_kit.clouds.aws.settings import AwsScheduleSettings, AwsSettings
from llmops_kit.infra.components import ModelEndpointArgs, ModelStoreArgs, TrainingArgs, told_without_traceback
from llmops_kit.infra.targets.aws.resolve import AwsResolved, resolve
from llmops_kit.infra.targets.aws.resources import observe
from llmops_kit.infra.targets.aws.resources.audit import declare_audit
from llmops_kit.infra.targets.aws.resources.context import declare_context
from llmops_kit.infra.targets.aws.resources.endpoint import EndpointContext, declare_endpoint
from llmops_kit.infra.targets.aws.resources.identity import (
    AwsRole,
    RoleScope,
    declare_endpoint_role,
    declare_scheduler_role,
    declare_signing_keys,
    declare_training_role,
)
from llmops_kit.infra.targets.aws.resources.images import declare_images
from llmops_kit.infra.targets.aws.resources.network import declare_network
from llmops_kit.infra.targets.aws.resources.storage import declare_storage
from llmops_kit.infra.targets.aws.resources.training import declare_group, declare_schedules
from llmops_kit.infra.targets.outputs import OutputFields, TrainingImages, endpoint_output, stack_outputs
from llmops_kit.settings.stack_settings import Endpoint, Images, Settings

__all__ = [
    "AwsSettings",
    "Endpoint",
    "Images",
    "ModelEndpoint",
    "ModelEndpointArgs",
    "ModelStore",
    "ModelStoreArgs",
    "Training",
    "TrainingArgs",
    "stack_outputs_of",
]


class ModelStore(pulumi.ComponentResource):
    """Account, keys, buckets, image repositories, network, budget and the topic for alarms.

    The bucket of versions, the keys and the repositories are protected: they outlive the stack.
    """

    url: pulumi.Output[str]
    """URL of dataset and model versions: s3://BUCKET."""
    runs: pulumi.Output[str]
    """Folder of runs: s3://BUCKET/runs."""
    key_arn: pulumi.Output[str]
    """KMS key that encrypts everything."""
    signing_key: pulumi.Output[str]
    """Reference of the key that signs versions: awskms:///ARN. The private key never leaves KMS."""
    public_key: pulumi.Output[str]
    """Public key that verifies signatures, in PEM; several one after another."""

    @told_without_traceback
    def __init__(
        self,
        name: str,
        args: ModelStoreArgs[AwsSettings],
        opts: pulumi.ResourceOptions | None = None,
        *,
        resolved: AwsResolved | None = None,
    ) -> None:
        """Declare it. Without `resolved`, resource names start with the component's, and the account is looked up.

        Raises:
            pulumi.RunError: a setting can't be honoured; no credentials, or those of another account.
        """
        super().__init__("llmops:aws:ModelStore", name, None, opts)
        given = args.settings
        found = resolved or resolve(_settings(given, expires=args.expires), f"{name}-")
        self.settings, self.expires = given, args.expires
        self.context = stack = declare_context(found.caller, found.names, given, args.expires, self)
        self.storage = declare_storage(stack, given)
        self.repositories = declare_images(stack, given.registry, self.storage.key_arn)
        self.network = declare_network(stack, given.network, found.zones, self.storage)
        signing = declare_signing_keys(stack, given.signing_key_arn, args.signing)
        self.topic = observe.declare_topic(stack, given.budget.emails, self.storage.key_arn)
        if found.budget:
            observe.declare_budget(stack, given.budget, self.topic)
        self.audit_bucket: pulumi.Input[str] = ""
        if given.audit:
            self.audit_bucket = declare_audit(stack, given, self.storage, signing, self.topic.arn)
        self.url = pulumi.Output.concat("s3://", self.storage.store.name)
        self.runs = pulumi.Output.concat("s3://", self.storage.work.name, "/runs")
        self.key_arn = pulumi.Output.from_input(self.storage.key_arn)
        self.signing_key = pulumi.Output.concat("awskms:///", signing.arns[0])
        self.public_key = signing.public_keys
        self.register_outputs(
            {"url": self.url, "runs": self.runs, "signing_key": self.signing_key, "public_key": self.public_key}
        )

    def scope(self, endpoints: Settings) -> RoleScope:
        """Returns the resources that roles may use, with the endpoints and images of some settings."""
        return RoleScope(self.storage, self.repositories, self.network, endpoints.endpoints, endpoints.images)


class Training(pulumi.ComponentResource):
    """The role of jobs, the registry of model packages, and scheduled runs.

    A run itself is an event, never a resource: `llmops train` or the scheduler starts it.
    """

    role: AwsRole
    image: str
    """Image of runs, by digest."""
    model_package_group: pulumi.Output[str]
    """Name of the group that `llmops models register` writes to."""

    @told_without_traceback
    def __init__(
        self,
        name: str,
        args: TrainingArgs[ModelStore],
        opts: pulumi.ResourceOptions | None = None,
        *,
        resolved: AwsResolved | None = None,
    ) -> None:
        """Declare it, with the schedules of the store's settings.

        Raises:
            pulumi.RunError: a setting can't be honoured, or the run of a schedule is unknown.
        """
        super().__init__("llmops:aws:Training", name, None, opts)
        store, given = args.store, args.store.settings
        wanted = _settings(given, images=args.images, schedules=given.schedules)
        found = resolved or resolve(wanted, store.context.names.prefix)
        stack, scope = store.context.below(self), store.scope(found.stack.settings)
        self.image, self.images = args.images.training, args.images
        self.role = declare_training_role(stack, given, scope)
        self.scheduler_role = declare_scheduler_role(stack, given, scope, self.role)
        self.model_package_group = declare_group(stack).model_package_group_name
        declare_schedules(
            stack, found.stack.schedules, found.specs, store.storage, store.network, self.role, self.scheduler_role
        )
        self.register_outputs({"role": self.role.arn, "image": self.image, "group": self.model_package_group})


class ModelEndpoint(pulumi.ComponentResource):
    """A SageMaker endpoint that serves one signed model version, with its alarms, logs, scaling and checks."""

    url: pulumi.Output[str]
    """URL of InvokeEndpoint; empty while `endpoint: off`."""
    image: str
    """Image of the server, by digest."""

    @told_without_traceback
    def __init__(
        self,
        name: str,
        args: ModelEndpointArgs[ModelStore, AwsRole],
        opts: pulumi.ResourceOptions | None = None,
        *,
        resolved: AwsResolved | None = None,
    ) -> None:
        """Declare it.

        Raises:
            pulumi.RunError: SageMaker can't honour a setting, the store lacks the version, or its gate was not passed.
        """
        super().__init__("llmops:aws:ModelEndpoint", name, None, opts)
        store, entry, given = args.store, args.endpoint, args.store.settings
        wanted = _settings(given, images=args.images, endpoints={name: entry})
        found = resolved or resolve(wanted, store.context.names.prefix)
        stack = store.context.below(self)
        role = args.shared or declare_endpoint_role(stack, given, store.scope(wanted), f"{name}-endpoint")
        shared = EndpointContext(
            store.storage, store.network, role, store.public_key, store.topic.arn, found.stack.alarms
        )
        endpoint = found.stack.endpoints[name]
        self.entry, self.image, self.role = entry, endpoint.image, role
        log = observe.declare_log(stack, name, given.log_retention_days, store.storage.key_arn)
        off = pulumi.Output.from_input("")
        self.url = declare_endpoint(stack, endpoint, shared, log) if entry.endpoint else off
        self.register_outputs({"url": self.url, "model": entry.model, "image": self.image})


def stack_outputs_of(
    store: ModelStore, training: Training, endpoints: Mapping[str, ModelEndpoint], role: AwsRole | None = None
) -> OutputFields:
    """Returns the outputs by which `llmops` operates a stack of components; a program exports each one.

    Args:
        store: its store.
        training: the component that executes runs.
        endpoints: by name, the names of the components.
        role: shared by all endpoints; None: each has its own role.
    """
    stack = store.context
    roles = {"training": training.role.arn, "scheduler": training.scheduler_role.arn}
    roles |= {"endpoint": role.arn} if role else {f"endpoint-{name}": made.role.arn for name, made in endpoints.items()}
    made = {
        name: endpoint_output(each.entry, each.url, each.image, mode=each.entry.mode)
        for name, each in endpoints.items()
    }
    return stack_outputs(
        "aws",
        stack.names.stack,
        stack.names.project,
        store=store.url,
        private_key=store.signing_key,
        public_key=store.public_key,
        training=TrainingImages(training.image, training.images.training_tensorflow),
        runs=store.runs,
        endpoints=made,
        expires=store.expires,
        aws={
            "account": stack.account,
            "region": stack.region,
            "partition": stack.caller.partition,
            "twin": bool(stack.caller.twin),
            "endpoints": {name: stack.names.of(name) for name in endpoints},
            "kms_key": store.key_arn,
            "roles": roles,
            "repositories": store.repositories.urls,
            "network": store.network.ids,
            "model_package_group": training.model_package_group,
            "work_bucket": store.storage.work.name,
            "alarms_topic": store.topic.arn,
            "jobs": store.settings.jobs.model_dump(),
            "job_prefix": stack.job_prefix,
            "tags": stack.job_tags,
            "serving_image": training.images.serving,
            **({"audit_bucket": store.audit_bucket} if store.settings.audit else {}),
        },
    )


def _settings(aws: AwsSettings, *, schedules: Mapping[str, AwsScheduleSettings] | None = None, **own: Any) -> Settings:
    """Returns the settings of a stack that has one component; only `Training` has schedules."""
    return Settings(target="aws", aws=aws.model_copy(update={"schedules": schedules or {}}), **own)
