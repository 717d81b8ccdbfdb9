"""ModelStore, Training and ModelEndpoint on Azure; llmops_kit.infra.components has their arguments."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pulumi

from llmops_kit.clouds.azure.settings import AzureSchedule, AzureSettings
from llmops_kit.core.names import ModelRef
from llmops_kit.infra.components import ModelEndpointArgs, ModelStoreArgs, TrainingArgs, told_without_traceback
from llmops_kit.infra.targets.azure.providers.asset import Asset
from llmops_kit.infra.targets.azure.resolve import AzureResolved, resolve
from llmops_kit.infra.targets.azure.resources import observe
from llmops_kit.infra.targets.azure.resources.context import AzureIdentity, AzureStack, declare_stack
from llmops_kit.infra.targets.azure.resources.endpoint import declare_endpoint, declare_version
from llmops_kit.infra.targets.azure.resources.images import repositories
from llmops_kit.infra.targets.azure.resources.training import (
    AzureEnvironment,
    ImageName,
    declare_computes,
    declare_environment,
    declare_schedules,
)
from llmops_kit.infra.targets.azure.shared import declare_shared
from llmops_kit.infra.targets.outputs import OutputFields, TrainingImages, endpoint_output, stack_outputs
from llmops_kit.settings.stack_settings import Endpoint, Images, Settings

__all__ = [
    "AzureSettings",
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
    """Resource group, storage, vault, registry and workspace of Azure ML, with identities, alerts and the budget.

    Storage of versions, keys, registry and workspace are protected: they outlive the stack.
    """

    url: pulumi.Output[str]
    """URL of dataset and model versions: https://ACCOUNT.blob.core.windows.net/CONTAINER."""
    runs: pulumi.Output[str]
    """URL of the folder of runs, in another container."""
    signing_key: pulumi.Output[str]
    """Reference of the key that signs versions: azurekeyvault://…. The private key never leaves the vault."""
    public_key: pulumi.Output[str]
    """Public key that verifies signatures, in PEM; several one after another."""

    @told_without_traceback
    def __init__(
        self,
        name: str,
        args: ModelStoreArgs[AzureSettings],
        opts: pulumi.ResourceOptions | None = None,
        *,
        resolved: AzureResolved | None = None,
    ) -> None:
        """Declare it. Without `resolved`, resource names start with the component's, and the subscription is looked up.

        Raises:
            pulumi.RunError: a setting can't be honoured; no credentials, or those of another subscription.
        """
        super().__init__("llmops:azure:ModelStore", name, None, _options(opts))
        self.settings, self.expires = args.settings, args.expires
        found = resolved or resolve(_settings(self), f"{name}-")
        self.twin = bool(found.twin)
        self.context = stack = declare_stack(found.inventory, found.twin, found.known, found.left, self)
        self.shared = shared = declare_shared(stack, args.signing)
        observe.declare_budget(stack, shared.action_group)
        self._environments: dict[tuple[ImageName, str], AzureEnvironment] = {}
        self._versions: dict[ModelRef, Asset] = {}
        self.url = pulumi.Output.from_input(shared.storage.store_url)
        self.runs = pulumi.Output.concat(shared.storage.work_url, "/runs")
        self.signing_key = pulumi.Output.from_input(shared.signing.reference)
        self.public_key = pulumi.Output.from_input(shared.signing.public_keys)
        self.register_outputs(
            {"url": self.url, "runs": self.runs, "signing_key": self.signing_key, "public_key": self.public_key}
        )

    def environment(self, field: ImageName, image: str) -> AzureEnvironment:
        """Returns the environment of an image; declared once, whoever runs it."""
        key = (field, image)
        if key not in self._environments:
            self._environments[key] = declare_environment(self.context, self.shared, field, image)
        return self._environments[key]

    def version(self, ref: ModelRef) -> Asset:
        """Returns a promoted version in the workspace; declared once, whoever serves it."""
        if ref not in self._versions:
            self._versions[ref] = declare_version(self.context, self.shared, ref)
        return self._versions[ref]

    def below(self, parent: pulumi.Resource, resolved: AzureResolved) -> AzureStack:
        """Returns the context of another component's resources."""
        return replace(
            self.context, inventory=resolved.inventory, known=resolved.known, left=resolved.left, parent=parent
        )


class Training(pulumi.ComponentResource):
    """Clusters that scale to zero, their environments, and scheduled runs.

    A run itself is an event, never a resource: `llmops train` or a schedule starts it.
    """

    image: str
    """Image of runs, by digest."""

    @told_without_traceback
    def __init__(
        self,
        name: str,
        args: TrainingArgs[ModelStore],
        opts: pulumi.ResourceOptions | None = None,
        *,
        resolved: AzureResolved | None = None,
    ) -> None:
        """Declare it, with the clusters and schedules of the store's settings.

        Raises:
            pulumi.RunError: a setting can't be honoured, or the run of a schedule is unknown.
        """
        super().__init__("llmops:azure:Training", name, None, _options(opts))
        store, image = args.store, args.images.training
        self.images = args.images
        wanted = _settings(store, images=args.images, schedules=store.settings.schedules)
        found = resolved or resolve(wanted, store.context.inventory.names.prefix)
        stack = store.below(self, found)
        self.image = image
        self.clusters = declare_computes(stack, store.shared)
        environment = store.environment("training", image) if image else None
        declare_schedules(stack, store.shared, found.specs, environment, self.clusters)
        self.register_outputs({"image": image, "clusters": list(self.clusters)})


class ModelEndpoint(pulumi.ComponentResource):
    """An online endpoint that serves one signed model version, with its traffic, alerts, logs, scaling and checks."""

    url: pulumi.Output[str]
    """Base URL; empty while `endpoint: off`."""
    image: str
    """Image of the server, by digest."""

    @told_without_traceback
    def __init__(
        self,
        name: str,
        args: ModelEndpointArgs[ModelStore, AzureIdentity],
        opts: pulumi.ResourceOptions | None = None,
        *,
        resolved: AzureResolved | None = None,
    ) -> None:
        """Declare it.

        Raises:
            pulumi.RunError: Azure can't honour a setting, the store lacks the version, or its gate was not passed.
        """
        super().__init__("llmops:azure:ModelEndpoint", name, None, _options(opts))
        store, entry = args.store, args.endpoint
        wanted = _settings(store, images=args.images, endpoints={name: entry})
        found = resolved or resolve(wanted, store.context.inventory.names.prefix)
        stack = store.below(self, found)
        endpoint = stack.resolved.endpoints[name]
        self.entry, self.image = entry, endpoint.image
        self.url = pulumi.Output.from_input("")
        if entry.endpoint:
            shared = replace(store.shared, endpoint=args.shared or store.shared.endpoint)
            environment, version = store.environment(endpoint.image_field, self.image), store.version(entry.version)
            self.url = declare_endpoint(stack, endpoint, shared, environment, version)
        self.register_outputs({"url": self.url, "model": entry.model, "image": self.image})


def stack_outputs_of(store: ModelStore, training: Training, endpoints: Mapping[str, ModelEndpoint]) -> OutputFields:
    """Returns the outputs by which `llmops` operates a stack of components; a program exports each one.

    Args:
        store: its store.
        training: the component that executes runs.
        endpoints: by name, the names of the components.
    """
    ids = store.context.inventory
    made = {
        name: endpoint_output(each.entry, each.url, each.image, mode=each.entry.mode)
        for name, each in endpoints.items()
    }
    return stack_outputs(
        "azure",
        ids.stack,
        ids.project,
        store=store.url,
        private_key=store.signing_key,
        public_key=store.public_key,
        training=TrainingImages(training.image, training.images.training_tensorflow),
        runs=store.runs,
        endpoints=made,
        expires=store.expires,
        azure={
            **_locations(store),
            "endpoints": {name: ids.endpoint(name).name for name in endpoints},
            "computes": {name: cluster.model_dump() for name, cluster in training.clusters.items()},
            "environments": _environments(training.images, store),
            "serving_image": training.images.serving,
            **({"audit_account": ids.account("audit").id} if store.settings.audit else {}),
        },
    )


def _locations(store: ModelStore) -> OutputFields:
    """Returns the outputs that locate a store's resources."""
    shared, ids = store.shared, store.context.inventory
    return {
        "subscription": ids.location.subscription,
        "tenant": ids.location.tenant,
        "location": ids.location.location,
        "twin": store.twin,
        "resource_group": shared.workspace.group,
        "workspace": shared.workspace.name,
        "storage_account": shared.storage.account,
        "blob_url": shared.storage.blob_url,
        "store_container": shared.storage.store,
        "work_container": shared.storage.work,
        "datastores": shared.workspace.datastores,
        "vault_url": shared.vault.url,
        "registry": shared.registry.login_server,
        "repositories": repositories(shared.registry),
        "identities": {"training": shared.training.id, "endpoint": shared.endpoint.id},
        "client_ids": {"training": shared.training.client_id, "endpoint": shared.endpoint.client_id},
        "logs": shared.records.logs,
        "metrics": shared.records.metrics,
        "jobs": store.settings.jobs.model_dump(),
        "job_prefix": ids.job_prefix,
        "tags": ids.all_tags,
    }


def _environments(images: Images, store: ModelStore) -> dict[str, pulumi.Output[str]]:
    """Returns the ids of the environments of all images."""
    wanted: dict[ImageName, str] = {
        "training": images.training,
        "serving": images.serving,
        "serving_vllm": images.serving_vllm,
    }
    return {field: store.environment(field, image).id for field, image in wanted.items() if image}


def _options(given: pulumi.ResourceOptions | None) -> pulumi.ResourceOptions:
    """Returns a component's options, which drop needless aliases of the resources below it."""
    return pulumi.ResourceOptions.merge(pulumi.ResourceOptions(transformations=[_drop_aliases]), given)


def _drop_aliases(resource: pulumi.ResourceTransformationArgs) -> None:
    """Drop the aliases that pulumi-azure-native gives a resource, up to 50: its type in each version of Azure's API.

    The kit never declared those types, and computing their URNs takes the SDK a third of a preview's time.
    """
    if resource.opts.aliases:
        resource.opts.aliases = [a for a in resource.opts.aliases if not _is_api_version(a)]


def _is_api_version(alias: object) -> bool:
    return isinstance(alias, pulumi.Alias) and str(alias.type_).startswith("azure-native:")


def _settings(store: ModelStore, *, schedules: Mapping[str, AzureSchedule] | None = None, **own: Any) -> Settings:
    """Returns the settings of a stack that has one component; only `Training` has schedules."""
    azure = store.settings.model_copy(update={"schedules": schedules or {}})
    return Settings(target="azure", azure=azure, expires=store.expires, **own)
