"""Permissions of users of a deployed stack: train, collect, promote, send requests, inspect. Deploying needs others.

https://learn.microsoft.com/azure/role-based-access-control/resource-provider-operations
"""

from typing import Any

from llmops_kit.cli.platforms.azure.recording import role_definition
from llmops_kit.clouds.azure.names import group_id
from llmops_kit.core.documents.outputs import StackOutputs

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
"""For versions, runs, signatures, and secrets of sources."""
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
    """Returns a role definition for all commands that deploy nothing, on the stack's resource group.

    It omits the state, whose container and key are the project's, not the stack's.
    """
    assert outputs.azure
    actions = {*_DATA, *_JOBS, *(_ENDPOINTS if outputs.azure.endpoints else ())}
    return role_definition(
        f"{outputs.project or 'llmops'} use of {outputs.stack}",
        "Permissions to train, promote and send requests, by llmops plan --policy --use",
        actions,
        group_id(outputs.azure),
    )
