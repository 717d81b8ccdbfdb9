"""Ids and URLs of a stack's parts on Azure, from its outputs."""

from contract.documents.outputs import AzureOutput


def group_id(azure: AzureOutput) -> str:
    """Of the resource group."""
    return f"/subscriptions/{azure.subscription}/resourceGroups/{azure.resource_group}"


def workspace_id(azure: AzureOutput) -> str:
    """Of the Azure Machine Learning workspace."""
    return f"{group_id(azure)}/providers/Microsoft.MachineLearningServices/workspaces/{azure.workspace}"


def endpoint_id(azure: AzureOutput, endpoint: str) -> str:
    """Of an online endpoint, by its name in the stack."""
    return f"{workspace_id(azure)}/onlineEndpoints/{azure.endpoints[endpoint]}"


def account_id(azure: AzureOutput) -> str:
    """Of the storage account."""
    return f"{group_id(azure)}/providers/Microsoft.Storage/storageAccounts/{azure.storage_account}"


def work_url(azure: AzureOutput) -> str:
    """Of the container of runs."""
    return f"{azure.blob_url.rstrip('/')}/{azure.work_container}"
