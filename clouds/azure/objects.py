"""Small blobs that dynamic resources write: as whoever runs the update, with a role on the container alone."""

from typing import Any

from infra.targets.azure.session import credential, explained


def write(container: str, key: str, content: bytes, *, new: bool = False) -> bool:
    """Write a blob.

    https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations

    Args:
        container: its URL.
        key: name of the blob.
        content: all of it.
        new: write it only where there is none.

    Returns:
        False: there was one, and it stays.

    Raises:
        KitError: Azure refuses.
    """
    from azure.core.exceptions import ResourceExistsError

    with explained(f"{container}/{key}"):
        try:
            _client(container).upload_blob(key, content, overwrite=not new)
        except ResourceExistsError:
            return False
    return True


def look_into(container: str) -> None:
    """Ask for a blob, whether there is one or not.

    Raises:
        HttpResponseError: Azure refuses.
    """
    next(iter(_client(container).list_blob_names(results_per_page=1)), None)


def count(container: str, prefix: str) -> int:
    """How many blobs there are below a folder."""
    with explained(f"{container}/{prefix}"):
        return sum(1 for _ in _client(container).list_blob_names(name_starts_with=f"{prefix}/"))


def remove(container: str, key: str) -> None:
    """Delete a blob, if there is one."""
    from azure.core.exceptions import ResourceNotFoundError

    with explained(f"{container}/{key}"):
        try:
            _client(container).delete_blob(key)
        except ResourceNotFoundError:
            return


def _client(container: str) -> Any:
    from azure.storage.blob import ContainerClient

    return ContainerClient.from_container_url(container, credential=credential())
