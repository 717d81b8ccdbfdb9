"""The store's objects in a blob container.

https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations

Azure copies a blob from another one by blocks
(https://learn.microsoft.com/rest/api/storageservices/put-block-from-url), and stores no SHA-256 of it, at most an MD5,
which is not collision-resistant. So each copy is read once, and each version once by each machine that promotes it. A
blob's ETag, which only Azure sets, then shows that it was not written since.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, BlobPrefix

from llmops_kit.cli.store.bounded_file import Bounded
from llmops_kit.cli.store.remote_checks import Hashed, Stored, at_once
from llmops_kit.cli.store.remote_objects import Entry, RemoteObjects
from llmops_kit.clouds.azure.errors import error_code, explained
from llmops_kit.clouds.azure.objects import ROLE, AzureContainer
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.documents.dataset import FileEntry
from llmops_kit.core.layout import cache_dir

_AT_ONCE = 2  # parts of one large blob, in addition to eight blobs in parallel
_BEING_DELETED = "ContainerBeingDeleted"
_STORAGE_SCOPE = "https://storage.azure.com/.default"
_TOKEN_SECONDS = 300  # minimum remaining lifetime of a token
_BLOCK = 128 << 20
"""Bytes that Azure copies in one request, within some seconds; a blob of 50,000 blocks has 6.7 TB."""


class BlobObjects(RemoteObjects):
    """Blobs of a container, copied by Azure and verified by reading them once."""

    def __init__(self, url: str, session: AzureSession) -> None:
        """Opens a container.

        Args:
            url: https://<account>.blob.core.windows.net/<container>, or a twin's.
            session: of the stack's tenant.
        """
        super().__init__(url.rstrip("/"), container_cache(url))
        self._session = session
        self._held: AccessToken | None = None
        self._container = AzureContainer(session, url)
        self._blob = self._container.blob

    def _find(self, key: str, most: int) -> bytes | None:
        return self._container.read(key, most)

    def _put(self, key: str, data: bytes) -> None:
        self._container.write(key, data)

    def _create(self, key: str, data: bytes) -> bool:
        return self._container.create(key, data)

    def folders(self, prefix: str) -> Iterator[str]:
        """Yields the keys of the folders that begin with a prefix; none if the container is gone."""
        with self._explained(self.url):
            try:
                for found in self._container.client.walk_blobs(name_starts_with=prefix, delimiter="/"):
                    if isinstance(found, BlobPrefix):
                        yield found.name.rstrip("/")
            except HttpResponseError as e:
                if not _is_gone(e):
                    raise

    def _entries(self, prefix: str) -> dict[str, Entry]:
        with self._explained(self.url):
            return {
                blob.name: Entry(str(blob.etag), blob.size or 0)
                for blob in self._container.client.list_blobs(name_starts_with=prefix, include=["metadata"])
                if not _is_folder(blob)
            }

    def _exists(self, key: str) -> bool:
        with self._explained(f"{self.url}/{key}"):
            return self._blob(key).exists()

    def _upload(self, key: str, path: Path) -> None:
        with path.open("rb") as data:
            self._blob(key).upload_blob(data, overwrite=True, max_concurrency=_AT_ONCE)

    def _download(self, key: str, file: Bounded | Hashed) -> None:
        at_once_ = _AT_ONCE if file.seekable() else 1
        self._blob(key).download_blob(max_concurrency=at_once_).readinto(file)  # type: ignore[arg-type]

    def _stored(self, key: str) -> Stored | None:
        try:
            found = self._blob(key).get_blob_properties()
        except ResourceNotFoundError:
            return None
        return Stored(found.size, mark=str(found.etag))

    def copies_from(self, source: RemoteObjects) -> bool:
        """Returns whether Azure can copy from a store: a container of the same tenant, which this process's token may
        read.
        """
        return isinstance(source, BlobObjects) and self._session.caller.tenant == source._session.caller.tenant

    def _copy(self, key: str, source: "BlobObjects", source_key: str, etag: str, entry: FileEntry) -> None:
        """Copies by blocks. Ignores the source's ETag, because Azure's client sends no condition for a block's source;
        the copy is read instead.
        """
        del etag
        url, target = source._blob(source_key).url, self._blob(key)
        blocks = [(f"{start // _BLOCK:08}", start) for start in range(0, entry.size, _BLOCK)]

        def stage(block: tuple[str, int]) -> None:
            id_, start = block
            target.stage_block_from_url(
                id_,
                url,
                source_offset=start,
                source_length=min(_BLOCK, entry.size - start),
                source_authorization=f"Bearer {self._token()}",
            )

        at_once(stage, blocks)
        target.commit_block_list([BlobBlock(id_) for id_, _ in blocks])

    def _token(self) -> str:
        """Returns a token for reading a copy's source; cached while valid, since `az` takes a second for one."""
        if self._held is None or self._held.expires_on < time.time() + _TOKEN_SECONDS:
            self._held = self._session.credential.get_token(_STORAGE_SCOPE)
        return self._held.token

    def _explained(self, where: str, fix: str = "") -> AbstractContextManager[None]:
        return explained(where, fix, ROLE)


def container_cache(url: str) -> Path:
    """Returns this machine's cache of a container's blobs. A twin's port is part of its account's name."""
    parts = urlsplit(url.rstrip("/"))
    name = f"{parts.netloc}{parts.path}"
    return cache_dir() / "stores" / f"{parts.path.rpartition('/')[2]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _is_gone(error: HttpResponseError) -> bool:
    return error.status_code == 404 or error_code(error) == _BEING_DELETED


def _is_folder(blob: object) -> bool:
    """Returns whether a blob is the empty marker that a mounted container leaves for an empty folder."""
    metadata = getattr(blob, "metadata", None) or {}
    return metadata.get("hdi_isfolder") == "true"
