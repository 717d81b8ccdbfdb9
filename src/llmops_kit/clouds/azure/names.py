"""Names, resource ids and API versions on Azure that both the program and the command line use."""

import hashlib
from collections.abc import Mapping
from uuid import NAMESPACE_URL, uuid5

from llmops_kit.core.documents.outputs import AzureOutput
from llmops_kit.core.names import ModelRef

PROJECT_TAG, STACK_TAG = "llmops:project", "llmops:stack"
MODEL_NAME, MODEL_SHA256 = "LLMOPS_MODEL_NAME", "LLMOPS_MODEL_SHA256"
"""Variables of a deployment: the version that it serves."""
WORKSPACES = "Microsoft.MachineLearningServices/workspaces"
ACCOUNTS = "Microsoft.Storage/storageAccounts"
VAULTS = "Microsoft.KeyVault/vaults"
REGISTRIES = "Microsoft.ContainerRegistry/registries"
IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
ML_API = "2025-12-01"
_RESOURCES_API = "2024-03-01"
# By namespace, or by namespace and type; the program declares resources with the same versions.
_API_VERSIONS = {
    "microsoft.authorization": "2022-04-01",
    "microsoft.consumption": "2024-08-01",
    "microsoft.containerregistry": "2023-01-01-preview",
    "microsoft.insights/actiongroups": "2024-10-01-preview",
    "microsoft.insights/autoscalesettings": "2021-05-01-preview",
    "microsoft.insights/components": "2020-02-02",
    "microsoft.insights/diagnosticsettings": "2021-05-01-preview",
    "microsoft.insights/metricalerts": "2018-03-01",
    "microsoft.insights/metrics": "2024-02-01",
    "microsoft.insights/scheduledqueryrules": "2025-01-01-preview",
    "microsoft.keyvault": "2024-11-01",
    "microsoft.machinelearningservices": ML_API,
    "microsoft.managedidentity": "2023-01-31",
    "microsoft.network": "2024-05-01",
    "microsoft.network/privatednszones": "2024-06-01",
    "microsoft.operationalinsights": "2023-09-01",
    "microsoft.storage": "2024-01-01",
}


def api_version(id_: str) -> str:
    """Returns the API version with which the kit requests a resource or a collection."""
    _, provider, path = id_.partition("?")[0].lower().rpartition("/providers/")
    namespace, _, rest = path.partition("/")
    if not provider or rest in ("", "register"):
        return _RESOURCES_API  # of groups, lists of resources, and resource providers
    kind = f"{namespace}/{rest.partition('/')[0]}"
    return _API_VERSIONS.get(kind) or _API_VERSIONS[namespace]


def stack_tags(project: str, stack: str) -> dict[str, str]:
    """Returns the tags by which a stack's resources are found."""
    return {PROJECT_TAG: project, STACK_TAG: stack}


def is_stacks(tags: Mapping[str, str] | None, stack: str) -> bool:
    """Returns whether a resource with these tags belongs to a stack."""
    return (tags or {}).get(STACK_TAG) == stack


def serving_environment(version: ModelRef) -> dict[str, str]:
    """Returns the environment of a deployment that serves a model version; Azure ML authenticates callers."""
    return {
        "LLMOPS_AUTH": "platform",
        "LLMOPS_PLATFORM": "azureml",
        MODEL_NAME: version.alias,
        MODEL_SHA256: version.sha256,
    }


def assignment_name(project: str, stack: str, subscription: str, who: str, role: str, scope: str) -> str:
    """Returns the name of a stack's role assignment: a UUID that depends only on the arguments."""
    return str(uuid5(NAMESPACE_URL, f"{project}/{stack}/{subscription}/{who}/{role}/{scope.lower()}"))


def resource_id(subscription: str, group: str, kind: str, *parts: str) -> str:
    """Returns `/subscriptions/…/resourceGroups/…/providers/Microsoft.X/types/name/children/child`."""
    namespace, *types = kind.split("/")
    path = "/".join(f"{t}/{part}" for t, part in zip(types, parts, strict=True))
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{namespace}/{path}"


def group_id(azure: AzureOutput) -> str:
    """Returns the resource id of a stack's resource group."""
    return f"/subscriptions/{azure.subscription}/resourceGroups/{azure.resource_group}"


def workspace_id(azure: AzureOutput) -> str:
    """Returns the resource id of a stack's Azure Machine Learning workspace."""
    return f"{group_id(azure)}/providers/{WORKSPACES}/{azure.workspace}"


def endpoint_id(azure: AzureOutput, endpoint: str) -> str:
    """Returns the resource id of an online endpoint, by its name in the stack."""
    return f"{workspace_id(azure)}/onlineEndpoints/{azure.endpoints[endpoint]}"


def account_id(azure: AzureOutput) -> str:
    """Returns the resource id of a stack's storage account."""
    return f"{group_id(azure)}/providers/{ACCOUNTS}/{azure.storage_account}"


def work_url(azure: AzureOutput) -> str:
    """Returns the URL of the container of runs."""
    return f"{azure.blob_url.rstrip('/')}/{azure.work_container}"


def unique_in_tenant(name: str, scope: str) -> str:
    """Returns the name of a custom role that is assignable in a scope, with the scope's hash: two subscriptions of a
    tenant can't have roles of one name.

    https://learn.microsoft.com/azure/role-based-access-control/custom-roles#custom-role-properties

    Args:
        name: of the role within the scope.
        scope: resource id of a subscription or resource group.
    """
    return f"{name} {hashlib.sha256(scope.lower().encode()).hexdigest()[:8]}"
