"""Settings of the target azure: one object, `llmops:azure`. Imports no SDK: every target can refuse it by name."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from contract.documents.document import Part
from contract.documents.run import Compute
from contract.names import Name

_GROUP = r"^/subscriptions/[0-9a-f-]{36}/resourceGroups/[^/]+"
_KEY_URL = r"^(https://[^/]+/keys/[A-Za-z0-9-]+/[0-9a-f]{32})?$"


def _resource_id(kind: str = "") -> AfterValidator:
    """The id of an Azure resource of this kind (of a resource group without one), or empty."""
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
    """User-assigned managed identities that exist already, by resource id; the kit makes those that are empty."""

    training: IdentityId = Field(default="", description="Of jobs.")
    endpoint: IdentityId = Field(default="", description="Of endpoints.")
    workspace: IdentityId = Field(default="", description="Of the workspace that is made.")


class Operator(Part):
    """Somebody who may use the stack: runs, versions, signatures, endpoints."""

    object_id: Guid = Field(min_length=1, description="Of the user, group or service principal in Microsoft Entra ID.")
    kind: Literal["User", "Group", "ServicePrincipal"] = Field(default="User", description="What it is.")


class Encryption(Part):
    """A key of yours that encrypts the stack's data at rest; empty: Azure's own keys do."""

    key: str = Field(default="", pattern=_KEY_URL, description="https://<vault>/keys/<name>/<version>, RSA.")
    vault: VaultId = Field(default="", description="Resource id of its vault, which has purge protection.")

    @model_validator(mode="after")
    def _both(self) -> "Encryption":
        if bool(self.key) != bool(self.vault):
            raise ValueError("key and vault belong together: write both, or none")
        return self


class DnsZones(Part):
    """Private DNS zones that exist already, by resource id; the kit makes those that are empty."""

    workspace: ZoneId = Field(default="", description="privatelink.api.azureml.ms.")
    notebooks: ZoneId = Field(default="", description="privatelink.notebooks.azure.net.")
    blob: ZoneId = Field(default="", description="privatelink.blob.core.windows.net.")
    vault: ZoneId = Field(default="", description="privatelink.vaultcore.azure.net.")
    registry: ZoneId = Field(default="", description="privatelink.azurecr.io.")


class AzureNetwork(Part):
    """Where jobs and endpoints have their network interfaces, and from where the stack is reached."""

    mode: Literal["none", "managed", "existing"] = Field(
        default="none",
        description="none: Azure ML's own; managed: a network that Azure ML isolates; existing: managed, and reached "
        "by private endpoints in your subnet alone.",
    )
    outbound: Literal["approved", "internet"] = Field(
        default="approved", description="What the managed network may reach (managed, existing)."
    )
    subnet: SubnetId = Field(default="", description="Where the private endpoints are made (existing).")
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
    """A monthly limit that tells; it stops nothing."""

    monthly_usd: int = Field(
        default=100, ge=0, description="What the stack may cost a month, in the account's currency; 0: no budget."
    )
    emails: list[str] = Field(default=[], max_length=10, description="Who is told of costs and alerts.")


class AzureAlerts(Part):
    """When a rollout is rolled back, and the stack's people are told."""

    error_rate: float = Field(default=0.05, gt=0, le=1, description="Share of the requests answered with 5xx.")
    latency_seconds: float = Field(default=20.0, gt=0, le=180, description="90th percentile of the answers' time.")
    quality: float = Field(default=1.0, gt=0, le=1, description="Share of the golden prompts answered as expected.")


class Cluster(Part):
    """Machines for runs: Azure ML starts them for a job, and takes them away when they idle."""

    vm_size: VmSize = Field(default="Standard_DS3_v2", min_length=1, description="Such as Standard_NC4as_T4_v3.")
    spot: bool = Field(default=False, description="on: low-priority machines, cheaper; taken back at times.")
    min_nodes: int = Field(default=0, ge=0, le=100, description="Machines that are always there, and paid for.")
    max_nodes: int = Field(default=1, ge=1, le=100, description="Machines at once.")
    idle_minutes: int = Field(default=2, ge=1, le=1440, description="How long a machine without a job is kept.")

    @model_validator(mode="after")
    def _in_order(self) -> "Cluster":
        if self.min_nodes > self.max_nodes:
            raise ValueError("min_nodes must be at most max_nodes")
        return self


class AzureJobs(Compute):
    """The machines of a run on Azure: a cluster of `computes` with this VM size and priority."""

    instance_type: VmSize = Field(  # type: ignore[assignment]
        default="Standard_DS3_v2", min_length=1, description="A VM size of `computes`, such as Standard_NC4as_T4_v3."
    )


class AzureSchedule(Part):
    """A training run that is repeated."""

    run: str = Field(
        pattern=r"^[a-z][a-z0-9-]{2,62}$", description="A run that `llmops train` made: its recipe, dataset and base."
    )
    cron: str = Field(pattern=r"^\S+( \S+){4}$", description="Five fields, such as `0 3 * * 0`.")
    timezone: str = Field(
        default="UTC", min_length=1, description="In which the expression is read, by its Windows name."
    )
    instance_type: VmSize = Field(default="", description="Of the job; empty: that of `jobs`.")
    max_hours: int = Field(default=0, ge=0, le=120, description="Then the job is stopped; 0: that of `jobs`.")
    on: bool = Field(default=True, description="off: it stays, and starts nothing.")


class AzureSettings(Part):
    """The key `azure`."""

    subscription: Guid = Field(default="", description="Its id; empty: $AZURE_SUBSCRIPTION_ID, or that of `az login`.")
    location: str = Field(
        default="", pattern=r"^([a-z][a-z0-9]+)?$", description="Such as westeurope; empty: the given group's."
    )
    tags: dict[str, str] = Field(default={}, description="On everything, beside the kit's own.")
    resource_group: GroupId = Field(default="", description="One that exists, by resource id; empty: one is made.")
    storage_account: StorageId = Field(default="", description="An account that exists; empty: one is made.")
    store_container: Container = Field(default="", description="Its container for versions; empty: one is made.")
    work_container: Container = Field(default="", description="Its container for runs; empty: one is made.")
    redundancy: Literal["LRS", "ZRS", "GRS", "GZRS"] = Field(
        default="ZRS", description="Copies of what is in the account that is made; LRS where a region has no zones."
    )
    vault: VaultId = Field(default="", description="A Key Vault that exists, with RBAC; empty: one is made.")
    signing_key: str = Field(
        default="",
        pattern=_KEY_URL,
        description="A P-256 key that exists, https://<vault>/keys/<name>/<version>; empty: one is made.",
    )
    registry: RegistryId = Field(default="", description="A container registry that exists; empty: one is made.")
    logs: LogsId = Field(default="", description="A Log Analytics workspace that exists; empty: one is made.")
    metrics: MetricsId = Field(
        default="", description="Application Insights that exist, on a Log Analytics workspace; empty: they are made."
    )
    workspace: WorkspaceId = Field(
        default="", description="An Azure Machine Learning workspace that exists; empty: one is made."
    )
    identities: Identities = Identities()
    operators: list[Operator] = Field(
        default=[],
        max_length=20,
        description="Who may use the stack beside who deployed it first: its versions, runs, signatures and endpoints.",
    )
    encryption: Encryption = Encryption()
    network: AzureNetwork = AzureNetwork()
    instance_type: VmSize = Field(default="Standard_DS3_v2", min_length=1, description="Of endpoints that name none.")
    answer_seconds: float = Field(
        default=10.0,
        gt=0,
        le=180,
        description="What an answer usually takes. Endpoints are scaled by the requests a minute that make "
        "concurrent_requests of them at once: Azure ML counts no others.",
    )
    computes: dict[Name, Cluster] = Field(
        default={"cpu": Cluster()}, min_length=1, description="Clusters on which runs execute, by name."
    )
    log_retention_days: int = Field(default=365, ge=30, le=730, description="How long logs and metrics are kept.")
    runs_days: int = Field(default=90, ge=1, le=3650, description="How long files of runs are kept.")
    alerts: AzureAlerts = AzureAlerts()
    budget: AzureBudget = AzureBudget()
    jobs: AzureJobs = Field(default=AzureJobs(), description="What runs take that say nothing else.")
    schedules: dict[Name, AzureSchedule] = Field(default={}, description="Runs that are repeated, by name.")

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
