"""What the command line can do with stacks on Azure."""

from contract.twins import azure_twin_address
from llmops.platforms.operations import Lazy, Operations

OPERATIONS = Operations(
    target="azure",
    platform=Lazy("llmops.platforms.azure.platform:AzurePlatform"),
    preflight=Lazy("llmops.platforms.azure.preflight:preflight"),
    extra=("azure", "azure.identity", "azure.mgmt.core", "azure.storage.blob", "azure.keyvault.keys"),
    clients=Lazy("llmops.platforms.azure.preflight:clients_of"),
    region=Lazy("llmops.platforms.azure.preflight:region_of"),
    twin_address=azure_twin_address,
    plan_rules=Lazy("llmops.plan.azure"),
    quotas=Lazy("llmops.platforms.azure.quotas:quotas_of"),
    sweeper=Lazy("llmops.platforms.azure.sweep.sweep:AzureSweeper"),
    images=Lazy("llmops.platforms.azure.image_registry:AcrImages"),
    use_policy=Lazy("llmops.platforms.azure.use_policy:use_policy"),
    recording=Lazy("llmops.platforms.azure.recording:AzureRecording"),
    doctor=Lazy("llmops.platforms.azure.doctor"),
    rehearsal=Lazy("llmops.rehearsal.clouds.azure:Azure"),
    state_scheme="azblob",
    state_locks=Lazy("llmops.platforms.azure.state_locks:locks_of_stack"),
)
