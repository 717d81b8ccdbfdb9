"""State of a declaration: the stack's provider and group, and options that adopt what an interrupted update left.

`SharedResources` are the declared resources that endpoints, jobs and schedules depend on.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pulumi
from pulumi_azure_native import Provider, resources

from llmops_kit.clouds.azure.federation import uses_oidc
from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.settings import AzureSettings
from llmops_kit.infra.targets.azure.inventory import AzureEntry, AzureInventory
from llmops_kit.infra.targets.azure.providers.account import AzureAccount
from llmops_kit.infra.targets.azure.role_retries import retry_while_roles_are_new
from llmops_kit.settings.resolved import ResolvedStack


@dataclass(frozen=True)
class AzureIdentity:
    """A user-assigned managed identity, and the role assignments that it needs."""

    id: pulumi.Input[str]
    client_id: pulumi.Input[str]
    principal_id: pulumi.Input[str]
    ready: list[pulumi.Resource]
    roles: tuple[str, ...] = ()  # resource ids of its role assignments by the stack


@dataclass(frozen=True)
class AzureStack:
    """A stack that is being declared."""

    inventory: AzureInventory
    known: frozenset[str] | None = field(repr=False)  # keys in the state; None: nothing of the stack exists
    left: frozenset[str] = field(repr=False)  # ids, in lower case, of resources to adopt
    group: pulumi.Input[str] = field(repr=False)  # its name, once it exists
    provider: Provider = field(repr=False)
    operator: pulumi.Output[dict[str, str]] = field(repr=False)  # first deployer: object_id, kind
    parent: pulumi.Resource = field(repr=False)  # component that is being declared

    @property
    def resolved(self) -> ResolvedStack:
        """The stack's resolved settings."""
        return self.inventory.resolved

    @property
    def azure(self) -> AzureSettings:
        """The target's own settings."""
        return self.inventory.given

    @property
    def location(self) -> AzureLocation:
        """Location of dynamic resources."""
        return self.inventory.location

    @property
    def placed(self) -> dict[str, Any]:
        """Arguments of a resource in the group that has a location and tags."""
        return {**self.grouped, "location": self.location.location}

    @property
    def grouped(self) -> dict[str, Any]:
        """Arguments of a resource in the group that has tags."""
        return {"resource_group_name": self.group, "tags": self.inventory.all_tags}

    def options(self, entry: AzureEntry | None = None, **given: Any) -> pulumi.ResourceOptions:
        """Returns options of a native resource, with the stack's provider."""
        taken_over = self.take_over(entry) if entry else {}
        return pulumi.ResourceOptions(parent=self.parent, provider=self.provider, **given, **taken_over)

    def after(self, *others: pulumi.Resource) -> pulumi.ResourceOptions:
        """Returns options of a dynamic resource that comes after others."""
        return pulumi.ResourceOptions(parent=self.parent, depends_on=list(others))

    def take_over(self, entry: AzureEntry) -> dict[str, Any]:
        """Returns options that adopt a resource that an interrupted update left, unchanged; the next update applies its
        declaration. (The engine imports only resources that equal their declaration, so all properties are ignored.)
        """
        if entry.id.lower() not in self.left:
            return {}
        pulumi.log.warn(
            f"{entry.id} was left by an interrupted update and is adopted unchanged: run `pulumi up` again to apply "
            "the settings"
        )
        return {"import_": entry.id, "ignore_changes": ["*"]}

    def retries(
        self, entry: AzureEntry, identity: AzureIdentity | None, before: Callable[[], object] = lambda: None
    ) -> pulumi.ResourceHookBinding | None:
        """Returns retries for a resource that Azure creates with an identity; None once it exists, to save time."""
        if identity is None or entry.key in (self.known or ()):
            return None
        return retry_while_roles_are_new(self.location, entry.logical, identity.roles, before)


@dataclass(frozen=True)
class AzureStorage:
    """The stack's data: one account with a container of versions and one of runs."""

    id: pulumi.Input[str]
    account: pulumi.Input[str]
    blob_url: pulumi.Input[str]  # without a slash at its end
    store: str  # names of the containers
    work: str
    ready: list[pulumi.Resource]

    @property
    def store_url(self) -> pulumi.Output[str]:
        """`https://<account>.blob.core.windows.net/<container>`."""
        return pulumi.Output.concat(self.blob_url, "/", self.store)

    @property
    def work_url(self) -> pulumi.Output[str]:
        """URL of the container of runs."""
        return pulumi.Output.concat(self.blob_url, "/", self.work)


@dataclass(frozen=True)
class AzureScratch:
    """Storage of checkpoints, and of the files that Azure ML keeps in the default containers of a workspace. It is a
    separate account, unless the account of the data is an existing one.
    """

    id: pulumi.Input[str]
    account: pulumi.Input[str]
    container: str  # of checkpoints
    ready: list[pulumi.Resource]
    own: bool


@dataclass(frozen=True)
class AzureSigningKeys:
    """The keys that sign model versions; the private keys never leave the vault."""

    reference: pulumi.Input[str]  # of the one that signs: azurekeyvault://<vault's host>/keys/<name>/<version>
    public_keys: pulumi.Input[str]  # those that are trusted, in PEM


@dataclass(frozen=True)
class AzureVault:
    """The stack's Key Vault."""

    id: pulumi.Input[str]
    url: pulumi.Input[str]  # without a slash at its end
    ready: list[pulumi.Resource]


@dataclass(frozen=True)
class AzureRegistry:
    """The container registry, with repositories training and serving."""

    id: pulumi.Input[str]
    login_server: pulumi.Input[str]
    ready: list[pulumi.Resource]


@dataclass(frozen=True)
class AzureRecords:
    """Resource ids of logs and metrics."""

    logs: pulumi.Input[str]
    metrics: pulumi.Input[str]
    ready: list[pulumi.Resource]


@dataclass(frozen=True)
class AzureWorkspace:
    """The Azure Machine Learning workspace; `name` is known only once it exists."""

    id: pulumi.Input[str]
    name: pulumi.Input[str]
    group: pulumi.Input[str]  # resource group: that of an existing workspace may not be the stack's
    datastores: Mapping[str, pulumi.Input[str]]  # store, work, checkpoints -> name
    ready: list[pulumi.Resource]  # with the datastores

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of all resources in the workspace: its resource group and its name."""
        return {"resource_group_name": self.group, "workspace_name": self.name}


@dataclass(frozen=True)
class SharedResources:
    """Resources that endpoints, clusters and schedules depend on."""

    storage: AzureStorage
    vault: AzureVault
    signing: AzureSigningKeys
    registry: AzureRegistry
    training: AzureIdentity
    endpoint: AzureIdentity
    workspace: AzureWorkspace
    records: AzureRecords
    action_group: pulumi.Input[str]  # resource id of the action group

    @property
    def ready(self) -> list[pulumi.Resource]:
        """Resources that jobs and endpoints need: data, images, roles, workspace."""
        parts = (self.storage, self.registry, self.training, self.endpoint, self.workspace)
        return [resource for part in parts for resource in part.ready]


def declare_stack(
    inventory: AzureInventory,
    twin: str,
    known: frozenset[str] | None,
    left: frozenset[str],
    parent: pulumi.Resource,
) -> AzureStack:
    """Declare the subscription, the provider and the resource group, below a component.

    The provider is pinned to that subscription, since destroy and refresh run no program that could compare. It uses
    the same credentials as the program: Azure's default chain, or the identity token of a GitHub workflow. The latter
    is left to the environment (ARM_USE_OIDC), so that a person can destroy what a workflow deployed.
    """
    below, logical = pulumi.ResourceOptions(parent=parent), inventory.names.logical
    account = AzureAccount(logical("account"), inventory.location, below)
    subscription, tenant, location = inventory.location
    provider = Provider(
        logical("azure"),
        subscription_id=subscription,
        tenant_id=tenant,
        location=location,
        use_default_azure_credential=None if uses_oidc(os.environ) else True,  # before OIDC in the plugin's order
        metadata_host=twin.removeprefix("https://") or None,
        disable_instance_discovery=True if twin else None,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[account]),
    )
    stack = AzureStack(inventory, known, left, inventory.group_name, provider, account.operator, parent)
    if inventory.given.resource_group:
        return stack
    group = resources.ResourceGroup(
        inventory.group.logical, **stack.placed, opts=stack.options(inventory.group, protect=True)
    )
    return replace(stack, group=group.name)


def as_scope(id_: str) -> str:
    """Returns a resource id as the plugin writes it for imported resources; another spelling would replace them."""
    return id_.lstrip("/")
