"""Names of the kit's dynamic providers in Pulumi's state, and the classes that they stand for.

Pulumi keeps the provider of a dynamic resource in the state, as a pickle. The kit's hold a call of `provider` with a
released name, so that modules and classes may move: a name that was released stays in `RELEASED` for good, and is never
given to another kind of resource.

Standard library only: whoever checks a state imports it without Pulumi.
"""

import importlib
from typing import Any

RELEASED = {
    "aws/account": "infra.targets.aws.account:AwsAccountProvider",
    "aws/live": "infra.targets.aws.live:AwsLiveProvider",
    "aws/preparation": "infra.targets.aws.preparation:AwsPreparationProvider",
    "aws/quiet-alarms": "infra.targets.aws.quiet:QuietProvider",
    "aws/scheduled-spec": "infra.targets.aws.scheduled_spec:AwsScheduledSpecProvider",
    "azure/access": "infra.targets.azure.access:AccessProvider",
    "azure/account": "infra.targets.azure.account:AzureAccountProvider",
    "azure/asset": "infra.targets.azure.asset:AssetProvider",
    "azure/budget": "infra.targets.azure.budget:BudgetProvider",
    "azure/cluster-removal": "infra.targets.azure.cluster_removal:ClusterRemovalProvider",
    "azure/live": "infra.targets.azure.live:AzureLiveProvider",
    "azure/preparation": "infra.targets.azure.preparation:AzurePreparationProvider",
    "azure/scheduled-spec": "infra.targets.azure.scheduled_spec:AzureScheduledSpecProvider",
    "azure/signing-key": "infra.targets.azure.signing:SigningProvider",
    "azure/traffic": "infra.targets.azure.traffic:TrafficProvider",
    "local/endpoint": "infra.targets.local.endpoint:EndpointProvider",
    "local/hosting": "infra.targets.local.endpoint:HostingProvider",
    "local/image": "infra.targets.local.images:ImageProvider",
    "local/signing-key": "infra.targets.local.identity:SigningKeyProvider",
    "local/store": "infra.targets.local.storage:StoreProvider",
    "local/training-place": "infra.targets.local.training:TrainingPlaceProvider",
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
    raise LookupError(f"{wanted} has no name in infra.providers.RELEASED")
