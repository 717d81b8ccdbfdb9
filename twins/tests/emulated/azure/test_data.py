"""Blobs, keys, secrets and images as unmodified clients with azure-identity meet them, and on a twin that dies."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.secrets import SecretClient
from azure.storage.blob import BlobServiceClient

from llmops_twins.azure import control
from llmops_twins.core.state_log import STATE_FILE
from twins.tests.support.azure_processes import GROUPS, LOCATION, Subscription, running_twin

STORAGE, VAULTS, REGISTRIES = "2024-01-01", "2024-11-01", "2023-07-01"
GROUP = "{sub}/resourceGroups/kit"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/kitdata"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kit-vault"
REGISTRY = f"{GROUP}/providers/Microsoft.ContainerRegistry/registries/kitimages"


@contextmanager
def blobs(url: str, credential: Any) -> Iterator[BlobServiceClient]:
    with BlobServiceClient(url, credential, retry_total=0) as service:
        yield service


def make(running: Subscription) -> dict[str, Any]:
    """A storage account with a container, a vault with a key, a registry: their properties."""
    arm = running.arm()
    arm.change("PUT", GROUP, GROUPS, {"location": LOCATION})
    storage = {"location": LOCATION, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
    arm.change("PUT", ACCOUNT, STORAGE, storage | {"properties": {"allowSharedKeyAccess": False}})
    arm.change("PUT", f"{ACCOUNT}/blobServices/default/containers/store", STORAGE, {})
    sku = {"family": "A", "name": "standard"}
    properties = {"tenantId": running.info.tenant, "sku": sku, "enableRbacAuthorization": True}
    arm.change("PUT", VAULT, VAULTS, {"location": LOCATION, "properties": properties})
    arm.change("PUT", f"{VAULT}/keys/signing", VAULTS, {"properties": {"kty": "EC", "curveName": "P-256"}})
    arm.change("PUT", REGISTRY, REGISTRIES, {"location": LOCATION, "sku": {"name": "Basic"}})
    found = {
        name: arm.send("GET", path, version).json()["properties"]
        for name, path, version in (
            ("account", ACCOUNT, STORAGE),
            ("vault", VAULT, VAULTS),
            ("registry", REGISTRY, REGISTRIES),
        )
    }
    arm.close()
    return found


@pytest.mark.skipif(not shutil.which("docker-registry"), reason="no docker-registry on this machine")
def test_data_of_a_killed_twin_is_there_again_at_the_same_addresses(tmp_path: Path) -> None:
    with running_twin(tmp_path, pace=0.1) as running, running.entered():
        made, credential = make(running), DefaultAzureCredential()
        place, vault = made["account"]["primaryEndpoints"]["blob"], made["vault"]["vaultUri"]
        with blobs(place, credential) as service:
            service.get_blob_client("store", "kept").upload_blob(b"kept")
        with KeyClient(vault, credential, verify_challenge_resource=False) as keys:
            key = keys.get_key("signing").id
        with SecretClient(vault, credential, verify_challenge_resource=False) as secrets:
            secrets.set_secret("token", "value")
            listed = [each.name for each in secrets.list_properties_of_secrets()]
        assert listed == ["token"]
        state = running.home / STATE_FILE
        while '"token"' not in state.read_text():
            pass
        assert state.stat().st_mode & 0o077 == 0
        twin = psutil.Process(running.info.pids["twin"])
        os.kill(twin.pid, signal.SIGKILL)
        twin.wait(60)
        control.up(running.home, say=lambda _: None, containers="none", pace=0.1)
        with blobs(place, credential) as service:
            assert service.get_blob_client("store", "kept").download_blob().readall() == b"kept"
        with KeyClient(vault, credential, verify_challenge_resource=False) as keys:
            assert keys.get_key("signing").id == key
        with SecretClient(vault, credential, verify_challenge_resource=False) as secrets:
            assert secrets.get_secret("token").value == "value"
        arm = running.arm()
        assert (
            arm.send("GET", REGISTRY, REGISTRIES).json()["properties"]["loginServer"] == made["registry"]["loginServer"]
        )
        arm.close()


def test_a_reset_twin_has_no_data(tmp_path: Path) -> None:
    with running_twin(tmp_path, pace=0.1) as running, running.entered():
        make(running)
        credential = DefaultAzureCredential()
        arm = running.arm()
        place = arm.send("GET", ACCOUNT, STORAGE).json()["properties"]["primaryEndpoints"]["blob"]
        with blobs(place, credential) as service:
            service.get_blob_client("store", "lost").upload_blob(b"lost")
        control.reset(running.home)
        made = make(running)
        with blobs(made["account"]["primaryEndpoints"]["blob"], credential) as service:
            assert not list(service.get_container_client("store").list_blobs())
        arm.close()


def test_an_application_without_roles_reads_nothing_until_it_has_one(tmp_path: Path) -> None:
    with running_twin(tmp_path, pace=0.1) as running, running.entered():
        place = make(running)["account"]["primaryEndpoints"]["blob"]
        application = running.application("reader")
        with blobs(place, DefaultAzureCredential()) as service:
            service.get_blob_client("store", "x").upload_blob(b"x")
        with blobs(place, application.credential()) as service:
            blob = service.get_blob_client("store", "x")
            with pytest.raises(HttpResponseError) as refused:
                blob.download_blob()
            assert refused.value.status_code == 403
            arm = running.arm()
            reader = "{sub}/providers/Microsoft.Authorization/roleDefinitions/2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
            properties = {
                "principalId": application.object_id,
                "principalType": "ServicePrincipal",
                "roleDefinitionId": reader.replace("{sub}", arm.root),
            }
            scope = f"{ACCOUNT}/blobServices/default/containers/store"
            name = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{application.object_id}"
            arm.change("PUT", name, "2022-04-01", {"properties": properties})
            arm.close()
            while True:
                try:
                    assert blob.download_blob().readall() == b"x"
                    break
                except HttpResponseError as e:
                    assert e.status_code == 403  # noqa: PT017 (it works a moment later)
