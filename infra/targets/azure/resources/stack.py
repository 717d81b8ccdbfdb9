"""What every room of this target needs to declare something: where the stack lives, its names, its provider.

And what was made of it: `Ground` is what endpoints, jobs and schedules stand on.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pulumi
from pulumi_azure_native import Provider, resources

from clouds.azure.settings import AzureSettings
from contract.expiry import EXPIRES_TAG
from infra import names
from infra.names import CloudNames
from infra.settings import Settings
from infra.targets.azure.account import Account
from infra.targets.azure.session import Caller, Place, find

WORKSPACE_API = "2025-12-01"
"""Of everything of Azure Machine Learning that is looked up; pulumi-azure-native 3 declares with the same."""
_GROUP_API = "2024-03-01"
_GROUP = "azure-native:resources:ResourceGroup"
_HALF_WRITTEN = "failed to load checkpoint"
_STATE_PAUSES = (0.1, 0.5, 2.0)  # seconds


@dataclass(frozen=True)
class Here:
    """A stack's place on Azure, plain values all of them but for what the engine must know to order things."""

    caller: Caller
    settings: Settings
    project: str
    stack: str
    group_name: str
    group: pulumi.Input[str] = field(repr=False)  # the same name, once the group is there
    provider: Provider = field(repr=False)
    operator: pulumi.Output[dict[str, str]] = field(repr=False)  # who deployed first: object_id, kind
    known: frozenset[str] | None = field(repr=False)  # URNs in the state; None: nothing of the stack exists

    @property
    def names(self) -> CloudNames:
        """Names of things in the subscription."""
        return CloudNames(self.project, self.stack)

    @property
    def place(self) -> Place:
        """For dynamic resources and the SDKs."""
        return self.caller.place

    @property
    def location(self) -> str:
        """Such as westeurope."""
        return self.caller.location

    def id(self, kind: str, *parts: str) -> str:
        """Resource id in the stack's group: ("Microsoft.Storage/storageAccounts/blobServices", "abc", "default")."""
        return resource_id(self.caller.subscription, self.group_name, kind, *parts)

    def options(self, **given: Any) -> pulumi.ResourceOptions:
        """Options of a native resource, with the stack's provider."""
        return pulumi.ResourceOptions(provider=self.provider, **given)

    def knows(self, kind: str, logical: str) -> bool:
        """Is there nothing that the state does not know: because it holds this, or nothing of the stack exists?"""
        return self.known is None or self.holds(kind, logical)

    def holds(self, kind: str, logical: str) -> bool:
        """Does the state hold this?"""
        return f"urn:pulumi:{self.stack}::{self.project}::{kind}::{logical}" in (self.known or ())

    def adopted(self, kind: str, logical: str, id_: str, api_version: str, **given: Any) -> pulumi.ResourceOptions:
        """Options of a native resource that an interrupted update may have left: the plugin refuses to create it again.

        What the state does not know, though it exists and is the stack's own, is taken over as it is; the next update
        brings it to what is declared. (The engine imports only what equals its declaration, so all of it is ignored.)

        Args:
            kind: such as "azure-native:storage:StorageAccount".
            logical: name of the resource in the program.
            id_: its resource id on Azure.
            api_version: to look it up with.
            given: further options.

        Raises:
            KitError: it exists, and is another stack's or nobody's.
        """
        if self.knows(kind, logical) or not find(self.place, id_, api_version, tags=self.tags):
            return self.options(**given)
        pulumi.log.warn(
            f"{id_} was left by an interrupted update, and is taken over as it is: `pulumi up` again brings it to the "
            "settings"
        )
        return self.options(import_=id_, ignore_changes=["*"], **given)

    @property
    def tags(self) -> dict[str, str]:
        """The tags by which what is ours is told from what is not."""
        return stack_tags(self.project, self.stack)

    @property
    def all_tags(self) -> dict[str, str]:
        """What is put on everything that takes tags: the stack's own, and those that are asked for."""
        expiry = {EXPIRES_TAG: self.settings.expires} if self.settings.expires else {}
        return {**self.settings.azure.tags, **self.tags, **expiry}


@dataclass(frozen=True)
class Identity:
    """A user-assigned managed identity, and what must be there before it can do its work (its role assignments)."""

    id: pulumi.Input[str]
    client_id: pulumi.Input[str]
    principal_id: pulumi.Input[str]
    ready: list[pulumi.Resource]
    roles: tuple[str, ...] = ()  # resource ids of the assignments that the stack gives it
    theirs: bool = False  # given by somebody who gives it its roles, too


@dataclass(frozen=True)
class Storage:
    """The stack's data: one account with a container of versions and one of runs."""

    id: pulumi.Input[str]
    account: pulumi.Input[str]
    blob_url: pulumi.Input[str]  # without a slash at its end
    store: str  # names of the containers
    work: str
    ready: list[pulumi.Resource]
    plain_id: str  # known before it is made

    @property
    def store_id(self) -> str:
        """Resource id of the container of versions."""
        return f"{self.plain_id}/blobServices/default/containers/{self.store}"

    @property
    def work_id(self) -> str:
        """Resource id of the container of runs."""
        return f"{self.plain_id}/blobServices/default/containers/{self.work}"

    @property
    def store_url(self) -> pulumi.Output[str]:
        """`https://<account>.blob.core.windows.net/<container>`."""
        return pulumi.Output.concat(self.blob_url, "/", self.store)

    @property
    def work_url(self) -> pulumi.Output[str]:
        """The same of the container of runs."""
        return pulumi.Output.concat(self.blob_url, "/", self.work)


@dataclass(frozen=True)
class Scratch:
    """What jobs leave beside versions and runs: checkpoints, and what Azure ML keeps of them in the default containers
    of a workspace. It is an account apart, unless the account of the data was given.
    """

    id: pulumi.Input[str]
    account: pulumi.Input[str]
    container: str  # of checkpoints
    ready: list[pulumi.Resource]
    plain_id: str
    own: bool


@dataclass(frozen=True)
class SigningKey:
    """The key that signs model versions; its private half never leaves the vault."""

    reference: pulumi.Input[str]  # azurekeyvault://<vault's host>/keys/<name>/<version>
    public_key: pulumi.Input[str]  # PEM


@dataclass(frozen=True)
class Vault:
    """The stack's Key Vault."""

    id: pulumi.Input[str]
    url: pulumi.Input[str]  # without a slash at its end
    ready: list[pulumi.Resource]
    plain_id: str


@dataclass(frozen=True)
class Registry:
    """The container registry, with repositories training and serving."""

    id: pulumi.Input[str]
    login_server: pulumi.Input[str]
    ready: list[pulumi.Resource]
    plain_id: str


@dataclass(frozen=True)
class Workspace:
    """The Azure Machine Learning workspace: `name` is known only when it is there."""

    id: pulumi.Input[str]
    name: pulumi.Input[str]
    group: pulumi.Input[str]  # resource group, which may be another than the stack's when it is given
    plain_id: str  # known before it is made: for look-ups
    datastores: Mapping[str, pulumi.Input[str]]  # store, work, checkpoints -> name
    managed_network: bool
    account_id: str  # of its default storage account; empty where a given one does not say it
    ready: list[pulumi.Resource]  # with the datastores


@dataclass(frozen=True)
class Ground:
    """What endpoints, clusters and schedules stand on."""

    resource_group: pulumi.Input[str]
    location: str
    storage: Storage
    vault: Vault
    signing: SigningKey
    registry: Registry
    training: Identity
    endpoint: Identity
    workspace: Workspace
    logs: pulumi.Input[str]  # resource id of the Log Analytics workspace
    metrics: pulumi.Input[str]  # resource id of the Application Insights component
    action_group: pulumi.Input[str]  # resource id; tells people of alerts

    @property
    def ready(self) -> list[pulumi.Resource]:
        """What must be there before jobs and endpoints are: data, images, rights, workspace."""
        parts = (self.storage, self.registry, self.training, self.endpoint, self.workspace)
        return [resource for part in parts for resource in part.ready]


def make_here(caller: Caller, settings: Settings) -> Here:
    """Declare the subscription, the provider and the resource group.

    The provider goes to that subscription alone: destroy and refresh run no program that could compare. It takes the
    same credentials as the program, by Azure's own chain.
    """
    project, stack = pulumi.get_project(), pulumi.get_stack()
    own, given = CloudNames(project, stack), settings.azure.resource_group
    name = group_name(own, settings.azure)
    id_ = f"/subscriptions/{caller.subscription}/resourceGroups/{name}"
    there = bool(given) or find(caller.place, id_, _GROUP_API, tags=stack_tags(project, stack)) is not None
    known = _urns_of_state(project, stack) if there else None
    account = Account(caller.place)
    twin = caller.twin.removeprefix("https://")
    provider = Provider(
        "azure",
        subscription_id=caller.subscription,
        tenant_id=caller.tenant,
        location=caller.location,
        use_default_azure_credential=True,
        metadata_host=twin or None,
        disable_instance_discovery=True if twin else None,
        opts=pulumi.ResourceOptions(depends_on=[account]),
    )
    here = Here(caller, settings, project, stack, name, name, provider, account.operator, known)
    return here if given else replace(here, group=_group(here, id_))


def _group(here: Here, id_: str) -> pulumi.Output[str]:
    logical = names.kept("group")
    group = resources.ResourceGroup(
        logical,
        resource_group_name=here.group_name,
        location=here.location,
        tags=here.all_tags,
        opts=here.adopted(_GROUP, logical, id_, _GROUP_API, protect=True),
    )
    return group.name


def _urns_of_state(project: str, stack: str) -> frozenset[str]:
    """What the engine knows of this stack now: a program has no other way to ask. Of a state in a file that it is just
    writing, the engine reads a part, and is asked again.
    """
    name = f"{pulumi.get_organization()}/{project}/{stack}"
    for pause in _STATE_PAUSES:
        try:
            return _read_urns(name)
        except Exception as e:  # Pulumi raises nothing narrower
            if _HALF_WRITTEN not in str(e):
                raise
        time.sleep(pause)
    return _read_urns(name)


def _read_urns(stack: str) -> frozenset[str]:
    found = pulumi.runtime.invoke("pulumi:pulumi:readStackResourceOutputs", {"stackName": stack})
    return frozenset(found.value["outputs"])


def group_name(own: CloudNames, settings: AzureSettings) -> str:
    """Of the resource group, which the program must know before it is declared."""
    return settings.resource_group.rpartition("/")[2] or own.of("group", 90)


def resource_id(subscription: str, group: str, kind: str, *parts: str) -> str:
    """`/subscriptions/…/resourceGroups/…/providers/Microsoft.X/types/name/children/child`."""
    namespace, *types = kind.split("/")
    path = "/".join(f"{t}/{part}" for t, part in zip(types, parts, strict=True))
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{namespace}/{path}"


def as_scope(id_: str) -> str:
    """A resource id as the plugin has it of what it imports: else what was taken over would be replaced."""
    return id_.lstrip("/")


def stack_tags(project: str, stack: str) -> dict[str, str]:
    """What says whose a thing is."""
    return {"llmops:project": project, "llmops:stack": stack}
