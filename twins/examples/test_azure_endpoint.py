"""Tests of azure_endpoint.py on an emulated Azure subscription: the deployment really runs the container."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

pytest.importorskip("azure.ai.ml")

from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure_endpoint import deploy

from llmops_twins.pytest_plugin import EmulatedAccount

GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/line"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/linedata"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/line-vault"


@pytest.fixture(scope="session")
def azure_twin_baseline() -> None:
    """Creates a workspace, and the resources that it needs."""
    place = {"location": "westeurope"}
    tenant = os.environ["AZURE_TENANT_ID"]
    vault = {"tenantId": tenant, "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True}
    workspace = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/line"
    _put(GROUP, "2024-03-01", place)
    _put(ACCOUNT, "2024-01-01", {**place, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": {}})
    _put(VAULT, "2023-07-01", {**place, "properties": vault})
    needed = {"storageAccount": ACCOUNT, "keyVault": VAULT}
    _put(workspace, "2024-10-01", {**place, "identity": {"type": "SystemAssigned"}, "properties": needed})


@pytest.fixture
def image(azure_twin: EmulatedAccount) -> str:
    """Returns the container's image; with Docker, push it to a registry of the twin instead."""
    return azure_twin.process_image(Path(__file__).with_name("trainer"))


def test_the_deployment_answers(image: str, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"x": 5}')
    assert json.loads(deploy("line", "line", image, tmp_path / "request.json")) == {"y": 15.0}


@pytest.mark.twin(permissions=["Reader"])
def test_a_reader_must_not_deploy(image: str, tmp_path: Path) -> None:
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        deploy("line", "line", image, tmp_path / "request.json")


def _put(resource: str, version: str, body: dict[str, Any]) -> None:
    token = DefaultAzureCredential().get_token("https://management.azure.com/.default").token
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    url = f"{os.environ['AZURE_AUTHORITY_HOST']}{resource}?api-version={version}"
    urlopen(Request(url, json.dumps(body).encode(), headers, method="PUT")).close()
