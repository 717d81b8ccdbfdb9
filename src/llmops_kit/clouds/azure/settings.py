"""Settings of the target azure: one object, `llmops:azure`. Imports no SDK: every target can refuse it by name."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from llmops_kit.core.document import Part
from llmops_kit.core.documents.run import Compute
from llmops_kit.core.names import Name

_GROUP = r"^/subscriptions/[0-9a-f-]{36}/resourceGroups/[^/]+"
_KEY_URL = r"^(https://[^/]+/keys/[A-Za-z0-9-]+/[0-9a-f]{32})?$"


def _resource_id(kind: str = "") -> AfterValidator:
    """Returns a validator of resource ids of a kind (of resource groups if empty); it accepts an empty id."""
    wanted = _GROUP
    if kind:
        namespace, *types = kind.split("/")
        wanted += f"/providers/{re.escape(namespace)}" + "".join(f"/{re.escape(t)}/[^/]+" for t in types)

    def check(text: str) -> str:
        if text and not re.fullmatch(wanted, text, re.IGNORECASE):
            end = f"/providers/{kind}/…" if kind else ""
            raise ValueError(f"{text!r} is not a resource id of the form /subscriptions/…/resourceGroups/…{end}")
        return text

    return AfterValidator(check)


GroupId = Annotated[str, _resource_id()]
StorageId = Annotated[str, _resource_id("Microsoft.Storage/storageAccounts")]
VaultId = Annotated[str, _resource_id("Microsoft.KeyVault/vaults")]
RegistryId = Annotated[str, _resource_id("Microsoft.ContainerRegistry/registries")]
WorkspaceId = Annotated[str, _resource_id("Microsoft.MachineLearningServices/workspaces")]
LogsId = Annotated[str, _resource_id("Microsoft.OperationalInsights/workspaces")]
MetricsId = Annotated[str, _resource_id("Microsoft.Insights/components")]
IdentityId = Annotated[str, _resource_id("Microsoft.ManagedIdentity/userAssignedIdentities")]
SubnetId = Annotated[str, _resource_id("Microsoft.Network/virtualNetworks/subnets")]
ZoneId = Annotated[str, _resource_id("Microsoft.Network/privateDnsZones")]
Guid = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$")]
VmSize = Annotated[str, StringConstraints(pattern=r"^(Standard_[A-Za-z0-9_-]+)?$")]
Container = Annotated[str, StringConstraints(pattern=r"^([a-z0-9](-?[a-z0-9]){2,62})?$")]


class Identities(Part):
    """Existing user-assigned managed identities, by resource id; empty ones are created."""

    training: IdentityId = Field(default="", description="Identity of jobs.")
    endpoint: IdentityId = Field(default="", description="Identity of endpoints.")
    workspace: IdentityId = Field(default="", description="Identity of the new workspace.")


class Operator(Part):
    """A user of the stack: of its runs, versions, signatures and endpoints."""

    object_id: Guid = Field(
        min_length=1, description="Object id of the user, group or service principal in Microsoft Entra ID."
    )
    kind: Literal["User", "Group", "ServicePrincipal"] = Field(default="User", description="Kind of principal.")


class Encryption(Part):
    """Your own key for encryption at rest; empty: Azure's keys."""

    key: str = Field(default="", pattern=_KEY_URL, description="RSA key, https://<vault>/keys/<name>/<version>.")
    vault: VaultId = Field(default="", description="Resource id of its vault, which must have purge protection.")

    @model_validator(mode="after")
    def _both(self) -> "Encryption":
        if bool(self.key) != bool(self.vault):
            raise ValueError("key and vault belong together: set both or neither")
        return self


class DnsZones(Part):
    """Existing private DNS zones, by resource id; empty ones are created."""

    workspace: ZoneId = Field(default="", description="privatelink.api.azureml.ms.")
    notebooks: ZoneId = Field(default="", description="privatelink.notebooks.azure.net.")
    blob: ZoneId = Field(default="", description="privatelink.blob.core.windows.net.")
    vault: ZoneId = Field(default="", description="privatelink.vaultcore.azure.net.")
    registry: ZoneId = Field(default="", description="privatelink.azurecr.io.")


class AzureNetwork(Part):
    """Network of jobs and endpoints, and access to the stack."""

    mode: Literal["none", "managed", "existing"] = Field(
        default="none",
        description="none: Azure ML's own; managed: a network that Azure ML isolates; existing: managed, and reached "
        "by private endpoints in your subnet alone.",
    )
    outbound: Literal["approved", "internet"] = Field(
        default="approved", description="Allowed outbound traffic of the managed network (managed, existing)."
    )
    subnet: SubnetId = Field(default="", description="Subnet of the private endpoints (existing).")
    dns_zones: DnsZones = DnsZones()

    @model_validator(mode="after")
    def _fits_the_mode(self) -> "AzureNetwork":
        belongs = {
            "outbound": ("managed", "existing"),
            "subnet": ("existing",),
            "dns_zones": ("existing",),
        }
        for field in sorted(self.model_fields_set & set(belongs)):
            if self.mode not in belongs[field]:
                fits = " or ".join(f"`mode: {m}`" for m in belongs[field])
                raise ValueError(f"{field} has no effect with `mode: {self.mode}`; write {fits}")
        if self.mode == "existing" and not self.subnet:
            raise ValueError("`mode: existing` needs subnet")
        return self


class AzureBudget(Part):
    """A monthly budget that sends notifications; it stops nothing."""

    monthly_usd: int = Field(
        default=100, ge=0, description="Monthly budget of the stack, in the account's currency; 0: none."
    )
    emails: list[str] = Field(
        default=[], max_length=10, description="Recipient of notifications about costs and alerts."
    )


class AzureAlerts(Part):
    """Limits beyond which a rollout is rolled back and a notification is sent."""

    error_rate: float = Field(default=0.05, gt=0, le=1, description="Share of requests answered with 5xx.")
    latency_seconds: float = Field(default=20.0, gt=0, le=180, description="90th percentile of the response time.")
    quality: float = Field(default=1.0, gt=0, le=1, description="Share of golden prompts answered as expected.")


class Cluster(Part):
    """A compute cluster for runs; Azure ML starts nodes for jobs and removes idle ones."""

    vm_size: VmSize = Field(
        default="Standard_DS3_v2", min_length=1, description="VM size, such as Standard_NC4as_T4_v3."
    )
    spot: bool = Field(default=False, description="on: low-priority VMs, which are cheaper but can be preempted.")
    min_nodes: int = Field(default=0, ge=0, le=100, description="Nodes that are always running, and billed.")
    max_nodes: int = Field(default=1, ge=1, le=100, description="Maximum number of nodes.")
    idle_minutes: int = Field(default=2, ge=1, le=1440, description="Idle time before a node is removed.")

    @model_validator(mode="after")
    def _in_order(self) -> "Cluster":
        if self.min_nodes > self.max_nodes:
            raise ValueError("min_nodes must be at most max_nodes")
        return self


class AzureJobs(Compute):
    """Nodes of a run on Azure, from a cluster of `computes` with this VM size and priority."""

    instance_type: VmSize = Field(  # type: ignore[assignment]
        default="Standard_DS3_v2", min_length=1, description="A VM size of `computes`, such as Standard_NC4as_T4_v3."
    )


class AzureSchedule(Part):
    """A scheduled training run."""

    run: str = Field(
        pattern=r"^[a-z][a-z0-9-]{2,62}$",
        description="Run of `llmops train` whose recipe, dataset and base model are used.",
    )
    cron: str = Field(pattern=r"^\S+( \S+){4}$", description="Cron expression of five fields, such as `0 3 * * 0`.")
    timezone: str = Field(default="UTC", min_length=1, description="Time zone of the expression, by its Windows name.")
    instance_type: VmSize = Field(default="", description="VM size of the job; empty: that of `jobs`.")
    max_hours: int = Field(default=0, ge=0, le=120, description="Maximum duration of the job; 0: that of `jobs`.")
    on: bool = Field(default=True, description="off: keep the schedule, but start nothing.")


class AzureSettings(Part):
    """Settings of target `azure`, the key `llmops:azure` of a stack file."""

    subscription: Guid = Field(
        default="", description="Subscription id; empty: $AZURE_SUBSCRIPTION_ID, or that of `az login`."
    )
    location: str = Field(
        default="",
        pattern=r"^([a-z][a-z0-9]+)?$",
        description="Location, such as westeurope; empty: that of the given resource group.",
    )
    tags: dict[str, str] = Field(default={}, description="Further tags of all resources.")
    resource_group: GroupId = Field(
        default="", description="Existing resource group, by resource id; empty: create one."
    )
    storage_account: StorageId = Field(default="", description="Existing storage account; empty: create one.")
    store_container: Container = Field(default="", description="Its container for versions; empty: create one.")
    work_container: Container = Field(default="", description="Its container for runs; empty: create one.")
    redundancy: Literal["LRS", "ZRS", "GRS", "GZRS"] = Field(
        default="ZRS", description="Redundancy of the new storage account; LRS for regions without zones."
    )
    vault: VaultId = Field(default="", description="Existing Key Vault with RBAC; empty: create one.")
    signing_key: str = Field(
        default="",
        pattern=_KEY_URL,
        description="Existing P-256 key, https://<vault>/keys/<name>/<version>; empty: create one.",
    )
    registry: RegistryId = Field(default="", description="Existing container registry; empty: create one.")
    logs: LogsId = Field(default="", description="Existing Log Analytics workspace; empty: create one.")
    metrics: MetricsId = Field(
        default="", description="Existing Application Insights on a Log Analytics workspace; empty: create them."
    )
    workspace: WorkspaceId = Field(
        default="", description="Existing Azure Machine Learning workspace; empty: create one."
    )
    identities: Identities = Identities()
    operators: list[Operator] = Field(
        default=[],
        max_length=20,
        description="Further users of the stack's versions, runs, signatures and endpoints, beside its first deployer.",
    )
    encryption: Encryption = Encryption()
    network: AzureNetwork = AzureNetwork()
    instance_type: VmSize = Field(default="Standard_DS3_v2", min_length=1, description="Default VM size of endpoints.")
    answer_seconds: float = Field(
        default=10.0,
        gt=0,
        le=180,
        description="What an answer usually takes. Endpoints are scaled by the requests a minute that make "
        "concurrent_requests of them at once: Azure ML counts no others.",
    )
    computes: dict[Name, Cluster] = Field(
        default={"cpu": Cluster()}, min_length=1, description="Compute clusters for runs, by name."
    )
    log_retention_days: int = Field(default=365, ge=30, le=730, description="Retention of logs and metrics.")
    runs_days: int = Field(default=90, ge=1, le=3650, description="Retention of runs' files.")
    audit: bool = Field(
        default=False,
        description="on: copy the audit logs of vault, storage, registry and workspace to an account where they can't "
        "be changed for log_retention_days, and notify of each signature and change of keys.",
    )
    alerts: AzureAlerts = AzureAlerts()
    budget: AzureBudget = AzureBudget()
    jobs: AzureJobs = Field(default=AzureJobs(), description="Defaults of runs.")
    schedules: dict[Name, AzureSchedule] = Field(default={}, description="Scheduled runs, by name.")

    @property
    def alarms(self) -> AzureAlerts:
        """The limits of alerts, under the name that all clouds' settings share."""
        return self.alerts

    @model_validator(mode="after")
    def _belong_together(self) -> "AzureSettings":
        for field in ("store_container", "work_container"):
            if getattr(self, field) and not self.storage_account:
                raise ValueError(f"{field} has no effect without storage_account; add it")
        if self.storage_account and "redundancy" in self.model_fields_set:
            raise ValueError("redundancy has no effect on an account that exists; remove it")
        if self.operators and self.resource_group:
            raise ValueError(
                "operators have no effect in a resource group that exists: who made it gives people their roles, as "
                "`llmops bootstrap azure --for STACK --operator ID`; remove it"
            )
        if self.logs and self.metrics:
            raise ValueError("logs has no effect with metrics, which have a Log Analytics workspace; remove it")
        if self.workspace:
            for field in ("network", "encryption"):
                if getattr(self, field) != type(self).model_fields[field].default:
                    raise ValueError(f"{field} has no effect on a workspace that exists; remove it")
            if self.identities.workspace:
                raise ValueError("identities.workspace has no effect on a workspace that exists; remove it")
        return self
