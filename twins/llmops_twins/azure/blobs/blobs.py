"""Reads and writes blobs for the twin's own components, without a token: those of jobs, endpoints and models.

Errors for missing blobs: https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes.
"""

import base64
import shutil
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPResponse
from pathlib import Path
from typing import IO, Any
from weakref import WeakKeyDictionary

from llmops_twins.azure.blobs.azurite import SLOTS, Azurite
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.twin import TenantTwin

ACCOUNTS = "Microsoft.Storage/storageAccounts"
CONTAINERS = "Microsoft.Storage/storageAccounts/blobServices/containers"
SLOT = "_slot"
"""Member of an account's document: the Azurite slot that holds its blobs."""
_PIECE = 1 << 20
_BLOCK = 64 << 20
_STORES: "WeakKeyDictionary[TenantTwin, BlobStore]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Blob:
    """A blob without its content. `size` in bytes; `etag` with its quotes."""

    name: str
    size: int
    etag: str
    modified: datetime


class BlobStore:
    """The blobs of a twin: Azurite, and the containers known to exist in it."""

    def __init__(self, folder: Path) -> None:
        self.azurite = Azurite(folder, "twins azure up")
        self._lock = threading.Lock()
        self._made: dict[tuple[int, str], int] = {}  # by run of Azurite: a killed one loses its last changes

    def forget(self, twin: TenantTwin, slot: int, container: str) -> None:
        """Marks a container as deleted; its content is deleted when a container of that name is needed again."""
        with twin.lock:
            garbage = twin.state.setdefault("blob_garbage", [])
            if [slot, container] not in garbage:
                garbage.append([slot, container])
            twin.changed()
        self._made.pop((slot, container), None)

    def ensure(self, twin: TenantTwin, slot: int, container: str) -> None:
        """Creates a container of the twin in Azurite, unless it exists there.

        Raises:
            KitError: Azurite is not installed, or does not start.
        """
        if self._made.get((slot, container)) == self.azurite.starts:
            return
        with self._lock:
            with twin.lock:
                garbage = twin.state.get("blob_garbage", [])
                stale = [slot, container] in garbage
            if stale:
                self._ask(slot, "DELETE", container)
                with twin.lock:
                    garbage.remove([slot, container])
                    twin.changed()
            self._ask(slot, "PUT", container)
            self._made[slot, container] = self.azurite.starts

    def empty(self) -> None:
        """Deletes everything."""
        self._made.clear()
        self.azurite.empty()

    def _ask(self, slot: int, method: str, container: str) -> None:
        connection, answer = self.azurite.request(slot, method, container, {"restype": "container"}, _NOTHING, b"")
        answer.read()
        connection.close()


_NOTHING = {"Content-Length": "0"}


def store(twin: TenantTwin) -> BlobStore:
    """Returns the blobs of a twin."""
    return _STORES.setdefault(twin, BlobStore(twin.home / "blobs"))


def account_named(twin: TenantTwin, name: str) -> Document | None:
    """Returns a storage account by its name, which is unique."""
    for document in twin.resources.values():
        if document["type"] == ACCOUNTS and document["name"].lower() == name.lower():
            return document
    return None


def free_slot(twin: TenantTwin) -> int:
    """Returns an unused slot.

    Raises:
        ArmError: 409, all are in use.
    """
    taken = {document.get(SLOT) for document in twin.resources.values() if document["type"] == ACCOUNTS}
    for slot in range(SLOTS):
        if slot not in taken:
            return slot
    raise ArmError(409, "MaxStorageAccountsCountPerSubscriptionExceeded", f"This twin has {SLOTS} storage accounts.")


def container_id(account: Document, container: str) -> str:
    """Returns the id of a container, the scope of role assignments."""
    return f"{account['id']}/blobServices/default/containers/{container}"


def list_blobs(twin: TenantTwin, account: str, container: str, prefix: str = "") -> list[Blob]:
    """Returns all blobs of a container of a storage account (both by name) whose names begin with `prefix`, in order.

    Raises:
        ArmError: 404, there is no such account or container.
    """
    found: list[Blob] = []
    marker = ""
    while True:
        query = {"restype": "container", "comp": "list", "prefix": prefix} | ({"marker": marker} if marker else {})
        with _answer(twin, account, container, "", "GET", query) as answer:
            tree = ET.fromstring(answer.read())
        for each in tree.iter("Blob"):
            name, properties = each.findtext("Name", ""), each.find("Properties")
            assert properties is not None
            modified = parsedate_to_datetime(properties.findtext("Last-Modified", ""))
            size, etag = int(properties.findtext("Content-Length", "0")), properties.findtext("Etag", "")
            found.append(Blob(name, size, etag if etag.startswith('"') else f'"{etag}"', modified))
        marker = tree.findtext("NextMarker", "") or ""
        if not marker:
            return found


def any_blob(twin: TenantTwin) -> bool:
    """Returns whether any container holds a blob."""
    if not store(twin).azurite.used():
        return False
    ids = [document["id"] for document in twin.resources.values() if document["type"] == CONTAINERS]
    return any(list_blobs(twin, each.split("/")[8], each.rpartition("/")[2]) for each in ids)


def read(twin: TenantTwin, account: str, container: str, name: str) -> bytes:
    """Returns a blob's content.

    Raises:
        ArmError: 404, there is no such account, container or blob.
    """
    with _answer(twin, account, container, name, "GET") as answer:
        return answer.read()


def write(twin: TenantTwin, account: str, container: str, name: str, content: bytes) -> None:
    """Puts a blob, replacing an existing one.

    Raises:
        ArmError: 404, there is no such account or container.
    """
    headers = {"x-ms-blob-type": "BlockBlob", "Content-Length": str(len(content))}
    with _answer(twin, account, container, name, "PUT", headers=headers, body=content):
        pass


def delete(twin: TenantTwin, account: str, container: str, name: str) -> None:
    """Deletes a blob, if it exists."""
    try:
        with _answer(twin, account, container, name, "DELETE"):
            pass
    except ArmError as e:
        if e.code != "BlobNotFound":
            raise


def download(twin: TenantTwin, account: str, container: str, name: str, target: Path) -> None:
    """Downloads a blob to a new file, creating its folders.

    Raises:
        ArmError: 404, there is no such account, container or blob.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _answer(twin, account, container, name, "GET") as answer, target.open("xb") as written:
        shutil.copyfileobj(answer, written, _PIECE)


def upload(twin: TenantTwin, account: str, container: str, name: str, source: Path) -> None:
    """Uploads a file as a blob, replacing an existing one.

    Raises:
        ArmError: 404, there is no such account or container.
    """
    size = source.stat().st_size
    with source.open("rb") as content:
        if size <= _BLOCK:
            headers = {"x-ms-blob-type": "BlockBlob", "Content-Length": str(size)}
            with _answer(twin, account, container, name, "PUT", headers=headers, body=content):
                return
        _upload_blocks(twin, account, container, name, content)


def _upload_blocks(twin: TenantTwin, account: str, container: str, name: str, content: IO[bytes]) -> None:
    ids: list[str] = []
    while piece := content.read(_BLOCK):
        ids.append(base64.b64encode(f"{len(ids):08}".encode()).decode())
        query = {"comp": "block", "blockid": ids[-1]}
        with _answer(twin, account, container, name, "PUT", query, {"Content-Length": str(len(piece))}, piece):
            pass
    body = "".join(f"<Latest>{each}</Latest>" for each in ids)
    text = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{body}</BlockList>'.encode()
    headers = {"Content-Length": str(len(text)), "Content-Type": "application/xml"}
    with _answer(twin, account, container, name, "PUT", {"comp": "blocklist"}, headers, text):
        pass


@contextmanager
def _answer(
    twin: TenantTwin,
    account: str,
    container: str,
    name: str,
    method: str,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    body: Any = None,
) -> Iterator[HTTPResponse]:
    with twin.lock:
        document = account_named(twin, account)
        known = document and twin.find(container_id(document, container))
    if document is None:
        raise ArmError(404, "ResourceNotFound", f"There is no storage account '{account}'.")
    if not known:
        raise ArmError(404, "ContainerNotFound", f"The container {container} of {account} does not exist.")
    of_twin = store(twin)
    of_twin.ensure(twin, document[SLOT], container)
    path = f"{container}/{name}" if name else container
    sent = headers or ({} if method == "GET" else _NOTHING)
    connection, answer = of_twin.azurite.request(document[SLOT], method, path, query or {}, sent, body)
    try:
        if answer.status >= 300:
            answer.read()
            code = answer.headers.get("x-ms-error-code", "StorageError")
            raise ArmError(answer.status, code, f"{method} {account}/{path}: {answer.status} {code}")
        yield answer
        answer.read()
    finally:
        connection.close()
