"""Names of the kit's dynamic providers in Pulumi's state, and the classes that they stand for.

Pulumi keeps the provider of a dynamic resource in the state, as a pickle. The kit's pickles only call `provider` with a
released name, so that modules and classes may move: a released name stays in `RELEASED` for good, and is never used for
another kind of resource.

Imports the standard library only, so that states can be checked without Pulumi.
"""

import importlib
from typing import Any

RELEASED = {
    "aws/account": "llmops_kit.infra.targets.aws.providers.account:AwsAccountProvider",
    "aws/live": "llmops_kit.infra.targets.aws.providers.live:AwsLiveProvider",
    "aws/preparation": "llmops_kit.infra.targets.aws.providers.preparation:AwsPreparationProvider",
    "aws/quiet-alarms": "llmops_kit.infra.targets.aws.providers.quiet_alarms:QuietProvider",
    "aws/scheduled-spec": "llmops_kit.infra.targets.aws.providers.scheduled_spec:AwsScheduledSpecProvider",
    "azure/access": "llmops_kit.infra.targets.azure.providers.access:AccessProvider",
    "azure/account": "llmops_kit.infra.targets.azure.providers.account:AzureAccountProvider",
    "azure/asset": "llmops_kit.infra.targets.azure.providers.asset:AssetProvider",
    "azure/budget": "llmops_kit.infra.targets.azure.providers.budget:BudgetProvider",
    "azure/cluster-removal": "llmops_kit.infra.targets.azure.providers.cluster_removal:ClusterRemovalProvider",
    "azure/live": "llmops_kit.infra.targets.azure.providers.live:AzureLiveProvider",
    "azure/preparation": "llmops_kit.infra.targets.azure.providers.preparation:AzurePreparationProvider",
    "azure/scheduled-spec": "llmops_kit.infra.targets.azure.providers.scheduled_spec:AzureScheduledSpecProvider",
    "azure/signing-key": "llmops_kit.infra.targets.azure.providers.signing_key:SigningProvider",
    "azure/traffic": "llmops_kit.infra.targets.azure.providers.traffic:TrafficProvider",
    "local/endpoint": "llmops_kit.infra.targets.local.providers.endpoints:EndpointProvider",
    "local/hosting": "llmops_kit.infra.targets.local.providers.endpoints:HostingProvider",
    "local/image": "llmops_kit.infra.targets.local.providers.image:ImageProvider",
    "local/signing-key": "llmops_kit.infra.targets.local.providers.signing_key:SigningKeyProvider",
    "local/store": "llmops_kit.infra.targets.local.providers.store:StoreProvider",
    "local/training-place": "llmops_kit.infra.targets.local.providers.training_place:TrainingPlaceProvider",
}


def provider(name: str) -> Any:
    """Returns a new provider of a released name.

    Raises:
        KeyError: no release of the kit up to this one has the name.
    """
    module, _, found = RELEASED[name].partition(":")
    return getattr(importlib.import_module(module), found)()


def name_of(kind: type) -> str:
    """Returns the name under which providers of a class are in states.

    Raises:
        LookupError: the class was not given one.
    """
    wanted = f"{kind.__module__}:{kind.__qualname__}"
    for name, found in RELEASED.items():
        if found == wanted:
            return name
    raise LookupError(f"{wanted} has no name in llmops_kit.infra.providers.RELEASED")
