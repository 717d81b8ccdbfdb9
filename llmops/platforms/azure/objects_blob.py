"""The store's objects in a blob container.

https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations
"""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobPrefix, ContainerClient

from contract.layout import cache_dir
from llmops.bounded import Bounded
from llmops.platforms.azure.clients import Clients, error_code, explained
from llmops.remote_objects import Entry, RemoteObjects

_ROLE = "Storage Blob Data Contributor on the container"
_AT_ONCE = 2  # parts of one large blob, beside the eight blobs that are on their way
_BEING_DELETED = "ContainerBeingDeleted"


class BlobObjects(RemoteObjects):
    """Objects of a container."""

    def __init__(self, url: str, clients: Clients) -> None:
        """Open a container.

        Args:
            url: https://<account>.blob.core.windows.net/<container>, or a twin's.
            clients: of the stack's tenant.
        """
        super().__init__(url.rstrip("/"), container_cache(url))
        account, _, name = self.url.rpartition("/")
        self._container: ContainerClient = clients.blobs(account).get_container_client(name)

    def _find(self, key: str, most: int) -> bytes | None:
        with self._explained(f"{self.url}/{key}"):
            try:
                return self._blob(key).download_blob(max_concurrency=_AT_ONCE).read(most)
            except ResourceNotFoundError:
                return None

    def _put(self, key: str, data: bytes) -> None:
        with self._explained(f"{self.url}/{key}"):
            self._blob(key).upload_blob(data, overwrite=True)

    def _create(self, key: str, data: bytes) -> bool:
        with self._explained(f"{self.url}/{key}"):
            try:
                self._blob(key).upload_blob(data, overwrite=False)
            except ResourceExistsError:
                return False
        return True

    def folders(self, prefix: str) -> Iterator[str]:
        """Keys of the folders that begin with a prefix; none where the container is gone."""
        with self._explained(self.url):
            try:
                for found in self._container.walk_blobs(name_starts_with=prefix, delimiter="/"):
                    if isinstance(found, BlobPrefix):
                        yield found.name.rstrip("/")
            except HttpResponseError as e:
                if not _is_gone(e):
                    raise

    def _entries(self, prefix: str) -> dict[str, Entry]:
        with self._explained(self.url):
            return {
                blob.name: Entry(str(blob.etag), blob.size or 0)
                for blob in self._container.list_blobs(name_starts_with=prefix, include=["metadata"])
                if not _is_folder(blob)
            }

    def _exists(self, key: str) -> bool:
        with self._explained(f"{self.url}/{key}"):
            return self._blob(key).exists()

    def _upload(self, key: str, path: Path) -> None:
        with path.open("rb") as data:
            self._blob(key).upload_blob(data, overwrite=True, max_concurrency=_AT_ONCE)

    def _download(self, key: str, file: Bounded) -> None:
        self._blob(key).download_blob(max_concurrency=_AT_ONCE).readinto(file)  # type: ignore[arg-type]

    def _explained(self, where: str, fix: str = "") -> AbstractContextManager[None]:
        return explained(where, fix, _ROLE)

    def _blob(self, key: str) -> BlobClient:
        return self._container.get_blob_client(key)


def container_cache(url: str) -> Path:
    """Where this machine keeps what it fetched from a container. A twin's port is part of its account's name."""
    parts = urlsplit(url.rstrip("/"))
    name = f"{parts.netloc}{parts.path}"
    return cache_dir() / "stores" / f"{parts.path.rpartition('/')[2]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _is_gone(error: HttpResponseError) -> bool:
    return error.status_code == 404 or error_code(error) == _BEING_DELETED


def _is_folder(blob: object) -> bool:
    """What a mounted container leaves for an empty folder: a blob of no bytes that says so."""
    metadata = getattr(blob, "metadata", None) or {}
    return metadata.get("hdi_isfolder") == "true"
