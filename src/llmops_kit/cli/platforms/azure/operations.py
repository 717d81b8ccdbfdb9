"""Operations of the command line on stacks on Azure."""

from llmops_kit.cli.interfaces.operations import Lazy, Operations
from llmops_kit.core.twins import azure_twin_address

OPERATIONS = Operations(
    target="azure",
    platform=Lazy("llmops_kit.cli.platforms.azure.platform:AzurePlatform"),
    preflight=Lazy("llmops_kit.cli.platforms.azure.preflight:preflight"),
    extra=("azure", "azure.identity", "azure.mgmt.core", "azure.storage.blob", "azure.keyvault.keys"),
    # The workspace is purged with its records. Its role assignments go with it, and a deployer who may delete those of
    # some principals alone is refused to delete one that is gone.
    data_has_resources=True,
    clients=Lazy("llmops_kit.cli.platforms.azure.preflight:clients_of"),
    region=Lazy("llmops_kit.cli.platforms.azure.preflight:region_of"),
    twin_address=azure_twin_address,
    plan_rules=Lazy("llmops_kit.cli.plan.azure"),
    quotas=Lazy("llmops_kit.cli.platforms.azure.quotas:quotas_of"),
    sweeper=Lazy("llmops_kit.cli.platforms.azure.sweep.sweep:AzureSweeper"),
    images=Lazy("llmops_kit.cli.platforms.azure.image_registry:AcrImages"),
    use_policy=Lazy("llmops_kit.cli.platforms.azure.use_policy:use_policy"),
    recording=Lazy("llmops_kit.cli.platforms.azure.recording:AzureRecording"),
    doctor=Lazy("llmops_kit.cli.platforms.azure.doctor"),
    state_scheme="azblob",
    state_locks=Lazy("llmops_kit.cli.platforms.azure.state_locks:locks_of_stack"),
)
