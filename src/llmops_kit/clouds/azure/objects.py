"""Reads and writes small blobs in a container, for the program, its dynamic providers and the command line.

https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations
"""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from llmops_kit.clouds.azure.errors import explained
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.clouds.objects import CHANGED, ObjectEntry
from llmops_kit.core.errors import IntegrityError, KitError, NotFoundError

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, ContainerClient

READER = "Storage Blob Data Reader on the container"
_ACCOUNTS_VERSION = "2024-01-01"
ROLE = "Storage Blob Data Contributor on the container"


class AzureContainer:
    """A blob container by its URL; blobs are read and written as the session's caller."""

    def __init__(self, session: AzureSession, url: str) -> None:
        self.url = url.rstrip("/")
        account, _, name = self.url.rpartition("/")
        self.client: ContainerClient = session.blobs(account).get_container_client(name)

    def blob(self, key: str) -> "BlobClient":
        """Returns the SDK's client of a blob of this container; it makes no request."""
        return self.client.get_blob_client(key)

    def read(self, key: str, most: int | None = None) -> bytes | None:
        """Returns a blob's content, at most `most` bytes of it; None if the blob or its container is missing."""
        from azure.core.exceptions import ResourceNotFoundError

        with explained(f"{self.url}/{key}", role=ROLE):
            try:
                return self.blob(key).download_blob(max_concurrency=2).read(-1 if most is None else most)
            except ResourceNotFoundError:
                return None

    def write(self, key: str, data: bytes) -> None:
        """Writes a blob, and replaces an existing one."""
        with explained(f"{self.url}/{key}", role=ROLE):
            self.blob(key).upload_blob(data, overwrite=True)

    def create(self, key: str, data: bytes) -> bool:
        """Writes a blob unless it exists. Returns whether this call wrote it."""
        from azure.core.exceptions import ResourceExistsError

        with explained(f"{self.url}/{key}", role=ROLE):
            try:
                self.blob(key).upload_blob(data, overwrite=False)
            except ResourceExistsError:
                return False
        return True

    def names(self, prefix: str) -> Iterator[str]:
        """Yields the names of the blobs below a prefix."""
        with explained(self.url, role=ROLE):
            yield from self.client.list_blob_names(name_starts_with=prefix)

    def entries(self, prefix: str) -> Iterator[ObjectEntry]:
        """Yields the blobs below a prefix: see llmops_kit.clouds.objects.ObjectSource."""
        with explained(self.url, role=READER):
            for blob in self.client.list_blobs(name_starts_with=prefix):
                yield ObjectEntry(blob.name, blob.size or 0, str(blob.etag))

    def stream(self, key: str, etag: str, start: int) -> Generator[bytes, None, None]:
        """Yields a blob's content from byte `start` on, in chunks; the client retries failed requests.

        Raises:
            IntegrityError: the blob has another ETag by now.
            KitError: Azure refuses, or can't be reached.
        """
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceModifiedError

        # Listings have ETags without the quotes of HTTP's conditions.
        same = {"etag": f'"{etag.strip(chr(34))}"', "match_condition": MatchConditions.IfNotModified}
        with explained(f"{self.url}/{key}", role=READER):
            try:
                yield from self.blob(key).download_blob(offset=start, **same).chunks()  # type: ignore[call-overload]
            except ResourceModifiedError as e:
                raise IntegrityError(CHANGED[0], where=f"{self.url}/{key}", fix=CHANGED[1]) from e

    def count(self, folder: str) -> int:
        """Returns the number of blobs in a folder."""
        return sum(1 for _ in self.names(f"{folder}/"))

    def remove(self, key: str) -> None:
        """Deletes a blob, if it exists."""
        from azure.core.exceptions import ResourceNotFoundError

        with explained(f"{self.url}/{key}", role=ROLE):
            try:
                self.blob(key).delete_blob()
            except ResourceNotFoundError:
                return

    def look(self) -> None:
        """Lists at most one blob, to check access.

        Raises:
            HttpResponseError: Azure refuses.
        """
        next(iter(self.client.list_blob_names(results_per_page=1)), None)


def open_data(place: str) -> tuple[AzureContainer, str]:
    """Splits `account/container/name` and opens the container with the credentials of this process's environment.

    Raises:
        KitError: no credentials, or no container is named.
        NotFoundError: the twin has no such account.
    """
    account, _, rest = place.partition("/")
    container, _, key = rest.partition("/")
    if not container:
        raise KitError("names no container", where=f"az://{place}", fix="write az://account/container/glob")
    session = AzureSession()
    return AzureContainer(session, f"{_account_url(session, account)}/{container}"), key


def _account_url(session: AzureSession, account: str) -> str:
    if not session.twin:
        return f"https://{account}.blob.core.windows.net"
    # Each account of a twin has its own port.
    listed = f"/subscriptions/{session.subscription}/providers/Microsoft.Storage/storageAccounts"
    for found in session.arm.list(listed, _ACCOUNTS_VERSION):
        if found["name"] == account:
            return str(found["properties"]["primaryEndpoints"]["blob"]).rstrip("/")
    raise NotFoundError("the twin has no such storage account", where=account, fix="`llmops status` shows its name")
