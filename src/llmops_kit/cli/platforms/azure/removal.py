"""Permanently removes a stack's data: every version of every blob, every image, and the workspace with its records.

In an existing account or registry that the stack uses, only what the kit wrote is removed. Azure itself purges
soft-deleted blobs and vaults after their retention.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import ContainerClient

from llmops_kit.cli.platforms.azure.image_registry import AcrApi
from llmops_kit.clouds.azure.arm import ResourceManager
from llmops_kit.clouds.azure.errors import explained
from llmops_kit.clouds.azure.names import REGISTRIES, account_id, group_id, is_stacks, workspace_id
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.documents.outputs import AzureOutput, StackOutputs

STORE_KEYS = ("aliases/", "models/", "datasets/", "promotions/", "rejections/", "revoked/", "store.json")
WORK_KEYS = ("runs/", "captures/", "schedules/")
_AT_ONCE = 8
_ROLE = "Storage Blob Data Contributor on the storage account's containers"


def remove_data(session: AzureSession, outputs: StackOutputs) -> None:
    """Empties the stack's containers and its repositories; repeated, it continues where it stopped."""
    assert outputs.azure
    azure = outputs.azure
    ours = _is_ours(session.arm, account_id(azure), outputs.stack)
    for name, keys in ((azure.store_container, STORE_KEYS), (azure.work_container, WORK_KEYS)):
        if name:
            with explained(f"{azure.blob_url}/{name}", "repeat the command: it resumes", _ROLE):
                container = session.blobs(azure.blob_url.rstrip("/")).get_container_client(name)
                empty_container(container, [""] if ours else keys)
    # By its login server, which starts with the registry's name on Azure, but not on a twin.
    registries = session.arm.list(f"{group_id(azure)}/providers/{REGISTRIES}")
    found = next((r for r in registries if r["properties"].get("loginServer") == azure.registry), None)
    if found and is_stacks(found.get("tags"), outputs.stack):
        _remove_images(azure, session)
    if azure.workspace and _is_ours(session.arm, workspace_id(azure), outputs.stack):
        _purge_workspace(session.arm, workspace_id(azure))


def empty_container(container: ContainerClient, prefixes: Iterable[str]) -> None:
    """Removes every blob below prefixes, with its versions and snapshots; does nothing if the container is gone."""
    for prefix in prefixes:
        try:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                names = container.list_blob_names(name_starts_with=prefix)
                list(pool.map(lambda name: _delete(container, name), names))
                versions = container.list_blobs(name_starts_with=prefix, include=["versions"])
                list(pool.map(lambda blob: _delete(container, blob.name, blob.version_id), versions))
        except ResourceNotFoundError:
            return


def _delete(container: ContainerClient, name: str, version: str | None = None) -> None:
    blob = container.get_blob_client(name)
    try:
        if version:
            blob.delete_blob(version_id=version)
        else:
            blob.delete_blob(delete_snapshots="include")
    except ResourceNotFoundError:
        return  # it was deleted with another one
    except HttpResponseError as e:
        if e.status_code == 409 and version:
            return  # the current version, which was deleted as the blob
        raise


def _remove_images(azure: AzureOutput, session: AzureSession) -> None:
    registry = AcrApi(azure, session)
    for url in azure.repositories.values():
        registry.remove(url.partition("/")[2])


def _purge_workspace(arm: ResourceManager, id_: str) -> None:
    """Purges the workspace: after a plain deletion, like the engine's, it reserves its name for 14 days.

    https://learn.microsoft.com/azure/machine-learning/concept-soft-delete
    """
    for endpoint in arm.list(f"{id_}/onlineEndpoints"):
        arm.delete(endpoint["id"])
    arm.delete(id_, forceToPurge="true")


def _is_ours(arm: ResourceManager, id_: str, stack: str) -> bool:
    """Returns whether the stack created a resource, by its tags."""
    return is_stacks((arm.find(id_) or {}).get("tags"), stack)
