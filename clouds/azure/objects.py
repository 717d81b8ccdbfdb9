"""Small blobs in a container, as the program, its dynamic providers and the command line read and write them.

https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from clouds.azure.errors import explained
from clouds.azure.session import AzureSession

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, ContainerClient

ROLE = "Storage Blob Data Contributor on the container"


class AzureContainer:
    """A blob container by its URL; blobs are read and written as the session's caller."""

    def __init__(self, session: AzureSession, url: str) -> None:
        self.url = url.rstrip("/")
        account, _, name = self.url.rpartition("/")
        self.client: ContainerClient = session.blobs(account).get_container_client(name)

    def blob(self, key: str) -> "BlobClient":
        """A blob's own client."""
        return self.client.get_blob_client(key)

    def read(self, key: str, most: int | None = None) -> bytes | None:
        """Content of a blob, at most so many bytes of it; None: it, or its container, is missing."""
        from azure.core.exceptions import ResourceNotFoundError

        with explained(f"{self.url}/{key}", role=ROLE):
            try:
                return self.blob(key).download_blob(max_concurrency=2).read(-1 if most is None else most)
            except ResourceNotFoundError:
                return None

    def write(self, key: str, data: bytes) -> None:
        """Write a blob, over one that may be there."""
        with explained(f"{self.url}/{key}", role=ROLE):
            self.blob(key).upload_blob(data, overwrite=True)

    def create(self, key: str, data: bytes) -> bool:
        """Write a blob unless there is one. Returns whether this call wrote it."""
        from azure.core.exceptions import ResourceExistsError

        with explained(f"{self.url}/{key}", role=ROLE):
            try:
                self.blob(key).upload_blob(data, overwrite=False)
            except ResourceExistsError:
                return False
        return True

    def names(self, prefix: str) -> Iterator[str]:
        """Names of the blobs below a prefix."""
        with explained(self.url, role=ROLE):
            yield from self.client.list_blob_names(name_starts_with=prefix)

    def count(self, folder: str) -> int:
        """How many blobs lie in a folder."""
        return sum(1 for _ in self.names(f"{folder}/"))

    def remove(self, key: str) -> None:
        """Delete a blob, if there is one."""
        from azure.core.exceptions import ResourceNotFoundError

        with explained(f"{self.url}/{key}", role=ROLE):
            try:
                self.blob(key).delete_blob()
            except ResourceNotFoundError:
                return

    def look(self) -> None:
        """Ask for a blob, whether there is one or not.

        Raises:
            HttpResponseError: Azure refuses.
        """
        next(iter(self.client.list_blob_names(results_per_page=1)), None)
