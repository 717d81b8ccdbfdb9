"""What those need who use a deployed stack: train, collect, promote, ask, look. Deploying takes more, and other things.

https://learn.microsoft.com/azure/role-based-access-control/resource-provider-operations
"""

from typing import Any

from llmops_kit.cli.platforms.azure.recording import role_definition
from llmops_kit.clouds.azure.names import group_id
from llmops_kit.contract.documents.outputs import StackOutputs

_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers"
_ML = "Microsoft.MachineLearningServices/workspaces"
_DATA = (
    f"{_BLOBS}/blobs/read",
    f"{_BLOBS}/blobs/write",
    f"{_BLOBS}/blobs/add/action",
    "Microsoft.KeyVault/vaults/keys/read",
    "Microsoft.KeyVault/vaults/keys/sign/action",
    "Microsoft.KeyVault/vaults/secrets/getSecret/action",
)
"""Versions, runs, signatures, and secrets of sources."""
_JOBS = (
    f"{_ML}/read",
    f"{_ML}/jobs/read",
    f"{_ML}/jobs/write",
    f"{_ML}/jobs/cancel/action",
    f"{_ML}/environments/read",
    f"{_ML}/environments/versions/read",
    f"{_ML}/environments/versions/write",
    f"{_ML}/computes/read",
    f"{_ML}/datastores/read",
    f"{_ML}/experiments/runs/read",
    "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
)
_ENDPOINTS = (
    f"{_ML}/onlineEndpoints/read",
    f"{_ML}/onlineEndpoints/score/action",
    f"{_ML}/onlineEndpoints/deployments/read",
    f"{_ML}/onlineEndpoints/deployments/getLogs/action",
    f"{_ML}/models/versions/read",
    "Microsoft.OperationalInsights/workspaces/query/read",
    "Microsoft.Insights/metrics/read",
)


def use_policy(outputs: StackOutputs) -> dict[str, Any]:
    """Returns a role definition for every verb of `llmops` that does not deploy, for the stack's resource group.

    The state's place is left out: its container and key are the project's, not the stack's.
    """
    assert outputs.azure
    actions = {*_DATA, *_JOBS, *(_ENDPOINTS if outputs.azure.endpoints else ())}
    return role_definition(
        f"{outputs.project or 'llmops'} use of {outputs.stack}",
        "What training, promoting and asking take, by llmops plan --policy --use",
        actions,
        group_id(outputs.azure),
    )
