"""Names and resource ids of all resources of a stack on Azure: plain values, computed from its settings."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.names import (
    ACCOUNTS,
    IDENTITIES,
    REGISTRIES,
    VAULTS,
    WORKSPACES,
    resource_id,
    serving_environment,
    stack_tags,
)
from llmops_kit.clouds.azure.settings import AzureSettings, Cluster
from llmops_kit.core.expiry import EXPIRES_TAG
from llmops_kit.infra import resource_names as names
from llmops_kit.infra.resource_names import CloudNames
from llmops_kit.infra.targets.azure.given import GivenResources
from llmops_kit.settings.resolved import ResolvedStack

CONTAINERS, CHECKPOINTS = ("store", "work"), "checkpoints"
ZONES = {
    "blob": "privatelink.blob.core.windows.net",
    "vault": "privatelink.vaultcore.azure.net",
    "registry": "privatelink.azurecr.io",
    "workspace": "privatelink.api.azureml.ms",
    "notebooks": "privatelink.notebooks.azure.net",
}
"""Setting in dns_zones -> name. https://learn.microsoft.com/azure/private-link/private-endpoint-dns"""
PRIVATE_LINKS = {
    "storage": ("storage_account", "blob", ("blob",)),
    "scratch": ("storage_account", "blob", ("blob",)),
    "vault": ("vault", "vault", ("vault",)),
    "registry": ("registry", "registry", ("registry",)),
    "workspace": ("workspace", "amlworkspace", ("workspace", "notebooks")),
}
"""Resource -> the setting for an existing one, the group of its private link service, and its zones."""
_ML = "machinelearningservices"
_LONGEST_NAME = 32  # of endpoints and deployments
_LONGEST_CLUSTER_NAME = 24


class AzureEntry(NamedTuple):
    """A native resource of a stack."""

    type: str  # such as "azure-native:storage:StorageAccount"
    logical: str  # its name in the program
    id: str  # its resource id on Azure

    @property
    def name(self) -> str:
        """Its name on Azure, the last part of its id."""
        return self.id.rpartition("/")[2]

    @property
    def key(self) -> str:
        """Its key in the engine's state, whichever component is its parent."""
        return f"{self.type}::{self.logical}"


@dataclass(frozen=True)
class AzureInventory:
    """A stack's resources by their names in the program and on Azure."""

    names: CloudNames
    """In the program and on Azure."""
    location: AzureLocation
    resolved: ResolvedStack
    found: GivenResources = field(default_factory=GivenResources)

    @property
    def given(self) -> AzureSettings:
        """The target's own settings."""
        return self.resolved.settings.azure

    @property
    def project(self) -> str:
        """Name of the Pulumi project."""
        return self.names.project

    @property
    def stack(self) -> str:
        """Name of the stack."""
        return self.names.stack

    @property
    def tags(self) -> dict[str, str]:
        """The tags that mark a resource as the stack's."""
        return stack_tags(self.project, self.stack)

    @property
    def all_tags(self) -> dict[str, str]:
        """Tags of all resources: the stack's own and those of the settings."""
        expiry = {EXPIRES_TAG: expires} if (expires := self.resolved.settings.expires) else {}
        return {**self.given.tags, **self.tags, **expiry}

    @property
    def isolated(self) -> bool:
        """Whether jobs and endpoints are in a managed network."""
        return self.given.network.mode != "none"

    @property
    def private(self) -> bool:
        """Whether the stack's own resources are reached by private endpoints only."""
        return self.given.network.mode == "existing"

    @property
    def group_name(self) -> str:
        """Name of the resource group: an existing one, or the stack's own."""
        return self.given.resource_group.rpartition("/")[2] or self.names.of("group", 90)

    @property
    def group(self) -> AzureEntry:
        """The resource group of everything that the stack creates."""
        id_ = f"/subscriptions/{self.location.subscription}/resourceGroups/{self.group_name}"
        return _entry("resources:ResourceGroup", self.names.kept("group"), id_)

    @property
    def logs(self) -> AzureEntry:
        """The Log Analytics workspace."""
        type_, own = "Microsoft.OperationalInsights/workspaces", self.names.of("logs")
        return self._in_group("operationalinsights:Workspace", self.names.kept("logs"), type_, own)

    @property
    def metrics(self) -> AzureEntry:
        """The Application Insights component. The workspace depends on it, so it is kept."""
        type_, own = "Microsoft.Insights/components", self.names.of("metrics")
        return self._in_group("applicationinsights:Component", self.names.kept("metrics"), type_, own)

    @property
    def action_group(self) -> AzureEntry:
        """Action group that alerts and the budget notify."""
        return self._in_group(
            "monitor:ActionGroup",
            self.names.logical("alerts"),
            "Microsoft.Insights/actionGroups",
            self.names.of("alerts"),
        )

    @property
    def vault(self) -> AzureEntry:
        """The vault; its name must be globally unique."""
        own = self.names.of("vault", 24, self.location.subscription)
        return self._in_group("keyvault:Vault", self.names.kept("vault"), VAULTS, own)

    @property
    def registry(self) -> AzureEntry:
        """The container registry; its name must be globally unique."""
        own = self.names.compact("registry", 50, self.location.subscription)
        return self._in_group("containerregistry:Registry", self.names.kept("registry"), REGISTRIES, own)

    @property
    def workspace(self) -> AzureEntry:
        """The workspace of Azure Machine Learning."""
        return self._in_group(
            f"{_ML}:Workspace", self.names.kept("workspace"), WORKSPACES, self.names.of("workspace", 33)
        )

    def account(self, word: str) -> AzureEntry:
        """Returns a storage account, storage, scratch or audit; its name must be globally unique."""
        own = self.names.compact("data" if word == "storage" else word, 24, self.location.subscription)
        return self._in_group("storage:StorageAccount", self.names.kept(word), ACCOUNTS, own)

    def identity(self, name: str) -> AzureEntry:
        """Returns a user-assigned identity: training, endpoint or workspace."""
        own = self.names.of(name)
        return self._in_group(
            "managedidentity:UserAssignedIdentity", self.names.logical(f"identity-{name}"), IDENTITIES, own
        )

    @property
    def account_id(self) -> str:
        """Id of the account of versions and runs, existing or new."""
        return self.given.storage_account or self.account("storage").id

    @property
    def scratch_id(self) -> str:
        """Id of the account of checkpoints: that of versions and runs, if that one is an existing account."""
        return self.given.storage_account or self.account("scratch").id

    def id_of(self, resource: str) -> str:
        """Returns the id of the vault, registry, workspace or metrics, existing or new."""
        return getattr(self.given, resource) or getattr(self, resource).id

    @property
    def logs_id(self) -> str:
        """Id of the Log Analytics workspace, existing or new."""
        return self.found.logs or self.given.logs or self.logs.id

    def container_name(self, word: str) -> str:
        """Name of a container; in a shared account it contains the stack's name."""
        if word == CHECKPOINTS:
            return word
        return getattr(self.given, f"{word}_container") or (self.names.of(word) if self.given.storage_account else word)

    def container(self, word: str) -> AzureEntry:
        """Returns a blob container: store, work or checkpoints."""
        account = self.scratch_id if word == CHECKPOINTS else self.account_id
        id_ = f"{account}/blobServices/default/containers/{self.container_name(word)}"
        return _entry(
            "storage:BlobContainer", self.names.kept(word) if word == "store" else self.names.logical(word), id_
        )

    def lifecycle(self, word: str) -> AzureEntry:
        """Returns an account's lifecycle policy, which expires blobs."""
        id_ = f"{self.account(word).id}/managementPolicies/default"
        return _entry("storage:ManagementPolicy", self.names.kept(f"{word}-lifecycle"), id_)

    @property
    def outbound_rule(self) -> AzureEntry:
        """The rule that lets the managed network reach the account of the data."""
        return _entry(
            f"{_ML}:ManagedNetworkSettingsRule",
            self.names.logical("outbound-data"),
            f"{self.id_of('workspace')}/outboundRules/data",
        )

    def datastore(self, word: str) -> AzureEntry:
        """Returns a datastore; in a shared workspace its name contains the stack's name."""
        own = self.names.compact(word, 50) if self.given.workspace else word
        return _entry(
            f"{_ML}:Datastore", self.names.logical(f"datastore-{word}"), f"{self.id_of('workspace')}/datastores/{own}"
        )

    def diagnostics(self, resource: str) -> AzureEntry:
        """Returns the diagnostic setting of a resource of `audited`."""
        return self._diagnostics(self.names.logical(f"diagnostics-{resource}"), self.audited[resource], "diagnostics")

    @property
    def audited(self) -> dict[str, str]:
        """Resources with diagnostic settings -> their ids. Existing ones are left to their owners, except, with
        `audit`, the vault that signs and the account of versions and runs.
        """
        blobs = "/blobServices/default"
        every = {
            "storage": (self.given.storage_account, f"{self.account_id}{blobs}"),
            "scratch": (self.given.storage_account, f"{self.scratch_id}{blobs}"),
            "vault": (self.given.vault, self.id_of("vault")),
            "registry": (self.given.registry, self.id_of("registry")),
            "workspace": (self.given.workspace, self.id_of("workspace")),
        }
        also = ("storage", "vault") if self.given.audit else ()
        return {resource: id_ for resource, (given, id_) in every.items() if not given or resource in also}

    def private_endpoint(self, resource: str) -> AzureEntry:
        """Returns the private endpoint of a resource of PRIVATE_LINKS."""
        own = self.names.of(f"{resource}-door")
        type_ = "Microsoft.Network/privateEndpoints"
        return self._in_group("network:PrivateEndpoint", self.names.logical(f"private-endpoint-{resource}"), type_, own)

    def zone_group(self, resource: str) -> AzureEntry:
        """Returns the DNS zone group of a private endpoint."""
        endpoint = self.private_endpoint(resource)
        id_ = f"{endpoint.id}/privateDnsZoneGroups/default"
        return _entry("network:PrivateDnsZoneGroup", f"{endpoint.logical}-names", id_)

    def zone(self, setting: str) -> AzureEntry:
        """Returns a private DNS zone."""
        type_ = "Microsoft.Network/privateDnsZones"
        return self._in_group("privatedns:PrivateZone", self.names.logical(f"dns-{setting}"), type_, ZONES[setting])

    def zone_link(self, setting: str) -> AzureEntry:
        """Returns a zone's link to the subnet's network."""
        zone = self.zone(setting)
        id_ = f"{zone.id}/virtualNetworkLinks/{self.names.of('network-link')}"
        return _entry("privatedns:VirtualNetworkLink", f"{zone.logical}-link", id_)

    @property
    def linked(self) -> list[str]:
        """The stack's own resources that have private endpoints."""
        return [each for each, link in PRIVATE_LINKS.items() if self.private and not getattr(self.given, link[0])]

    @property
    def own_zones(self) -> list[str]:
        """Private DNS zones that the stack creates, by setting."""
        wanted = dict.fromkeys(zone for each in self.linked for zone in PRIVATE_LINKS[each][2])
        return [zone for zone in wanted if not getattr(self.given.network.dns_zones, zone)]

    def cluster(self, name: str, cluster: Cluster) -> AzureEntry:
        """Returns a cluster. Azure can't change its size or priority, so its name contains a digest of both: 3 to 24
        letters, digits and dashes, whose last part is not a number.

        https://learn.microsoft.com/azure/templates/microsoft.machinelearningservices/workspaces/computes
        """
        isolated = ["isolated"] * self.isolated
        parts = (self.project, self.stack, name, cluster.vm_size, str(cluster.spot), *isolated)
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        own = f"{name[: _LONGEST_CLUSTER_NAME - 9].rstrip('-')}-c{digest[:7]}"
        return _entry(
            f"{_ML}:Compute",
            self.names.logical(f"compute-{name}-{own[-8:]}"),
            f"{self.id_of('workspace')}/computes/{own}",
        )

    def schedule(self, name: str) -> AzureEntry:
        """Returns the schedule that repeats a run."""
        return _entry(
            f"{_ML}:Schedule",
            self.names.logical(f"schedule-{name}"),
            f"{self.id_of('workspace')}/schedules/{self.names.of(name)}",
        )

    @property
    def job_prefix(self) -> str:
        """Prefix of the stack's job names, which also marks the jobs of its schedules."""
        return self.names.of("run", 26)

    def endpoint(self, name: str) -> AzureEntry:
        """Returns an online endpoint; its name must be unique in its region."""
        own = self.names.of(name, _LONGEST_NAME, self.location.subscription, self.location.location)
        return _entry(f"{_ML}:OnlineEndpoint", names.endpoint(name), f"{self.id_of('workspace')}/onlineEndpoints/{own}")

    def deployment(self, name: str) -> AzureEntry:
        """Returns an endpoint's deployment, named by a digest of everything that Azure can't change in place or that
        changes the answers.

        https://learn.microsoft.com/azure/machine-learning/reference-yaml-deployment-managed-online
        """
        endpoint = self.resolved.endpoints[name]
        environment = self.serving_environment(name)
        content = {"kind": endpoint.machine.kind, "image": endpoint.image, "environment": environment}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        readable = re.sub(r"[^a-z0-9]+", "-", endpoint.entry.version.alias)[: _LONGEST_NAME - 9].strip("-")
        own = f"{readable}-{digest[:8]}"
        id_ = f"{self.endpoint(name).id}/deployments/{own}"
        return _entry(f"{_ML}:OnlineDeployment", f"deployment-{name}-{own}", id_)

    def serving_environment(self, name: str) -> dict[str, str]:
        """Returns the variables of an endpoint's server that are part of its content."""
        endpoint = self.resolved.endpoints[name]
        return serving_environment(endpoint.entry.version) | endpoint.variables

    def endpoint_logs(self, name: str) -> AzureEntry:
        """Returns the diagnostic setting for an endpoint's logs."""
        return self._diagnostics(f"logs-{name}", self.endpoint(name).id, f"{name}-logs")

    def alert(self, name: str, what: str) -> AzureEntry:
        """Returns an alert of an endpoint: errors, quality or latency."""
        kind, type_ = (
            ("ScheduledQueryRule", "scheduledQueryRules") if what != "latency" else ("MetricAlert", "metricAlerts")
        )
        own = self.names.of(f"{name}-{what}")
        return self._in_group(f"monitor:{kind}", f"alert-{name}-{what}", f"Microsoft.Insights/{type_}", own)

    def audit_alert(self, what: str) -> AzureEntry:
        """Returns an alert of `audit`: signed or keys."""
        type_, own = "Microsoft.Insights/scheduledQueryRules", self.names.of(f"audit-{what}")
        return self._in_group("monitor:ScheduledQueryRule", self.names.logical(f"alert-audit-{what}"), type_, own)

    def scaling(self, name: str) -> AzureEntry:
        """Returns an endpoint's autoscale setting."""
        type_, own = "Microsoft.Insights/autoscaleSettings", self.names.of(f"{name}-load")
        return self._in_group("monitor:AutoscaleSetting", f"scaling-{name}", type_, own)

    def entries(self) -> Iterator[AzureEntry]:
        """Yields all resources of the settings, without role assignments."""
        given = self.given
        own = {
            "resource_group": (self.group,),
            "storage_account": (
                *(each for word in ("storage", "scratch") for each in (self.account(word), self.lifecycle(word))),
                self.container(CHECKPOINTS),
            ),
            "vault": (self.vault,),
            "registry": (self.registry,),
            "metrics": (self.metrics,),
            "workspace": (self.workspace,),
        }
        for setting, entries in own.items():
            yield from () if getattr(given, setting) else entries
        if given.audit:
            yield from (self.account("audit"), self.lifecycle("audit"))
            yield from (self.audit_alert(what) for what in ("signed", "keys"))
        if not (given.logs or given.metrics):
            yield self.logs
        if self.isolated and not (given.workspace or given.storage_account):
            yield self.outbound_rule
        for name in type(given.identities).model_fields:
            if not getattr(given.identities, name) and not (name == "workspace" and given.workspace):
                yield self.identity(name)
        yield self.action_group
        yield from (self.container(word) for word in CONTAINERS if not getattr(given, f"{word}_container"))
        yield from map(self.datastore, (*CONTAINERS, *([] if given.storage_account else [CHECKPOINTS])))
        yield from map(self.diagnostics, self.audited)
        for each in self.linked:
            yield from (self.private_endpoint(each), self.zone_group(each))
        for zone in self.own_zones:
            yield from (self.zone(zone), self.zone_link(zone))
        yield from (self.cluster(name, cluster) for name, cluster in given.computes.items())
        yield from map(self.schedule, given.schedules)
        for name, endpoint in self.resolved.endpoints.items():
            if endpoint.entry.endpoint:
                yield from (self.endpoint(name), self.deployment(name), self.endpoint_logs(name))
                yield from (self.alert(name, what) for what in ("errors", "quality", "latency"))
                yield from [self.scaling(name)] if endpoint.entry.size.max_instances else []

    def _in_group(self, kind: str, logical: str, type_: str, name: str) -> AzureEntry:
        return _entry(kind, logical, resource_id(self.location.subscription, self.group_name, type_, name))

    def _diagnostics(self, logical: str, target: str, name: str) -> AzureEntry:
        id_ = f"{target}/providers/Microsoft.Insights/diagnosticSettings/{self.names.of(name)}"
        return _entry("monitor:DiagnosticSetting", logical, id_)


def _entry(kind: str, logical: str, id_: str) -> AzureEntry:
    return AzureEntry(f"azure-native:{kind}", logical, id_)
