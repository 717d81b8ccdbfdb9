"""Folders in datastores, fetched for containers and filled by jobs, with the permissions of an identity.

https://learn.microsoft.com/azure/machine-learning/how-to-administrate-data-authentication
"""

from pathlib import Path

from llmops_kit.core import object_keys
from llmops_twins.azure.blobs import blobs
from llmops_twins.azure.ml.references import data_path
from llmops_twins.azure.protocol.ids import Id
from llmops_twins.azure.twin import TenantTwin

_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
READ, WRITE, DELETE = f"{_BLOBS}/read", f"{_BLOBS}/write", f"{_BLOBS}/delete"


class FilesError(Exception):
    """Error for files that can't be read or stored; the text names them and the reason."""


class Folder:
    """A folder (or one file) of a datastore, used by an identity: `principal` is its object id; empty: an identity with
    automatic permissions. Call its methods without the twin's lock. A path outside of the container raises FilesError.
    """

    def __init__(self, twin: TenantTwin, container_id: str, path: str, principal: str) -> None:
        if path.strip("/") and (why := object_keys.fault(path.strip("/"))):
            raise FilesError(f"{object_keys.shown(path)} is not a path of a folder: it {why}")
        self._twin = twin
        self._container_id = container_id
        self._principal = principal
        self.path = path
        names = Id.parse(container_id).names
        self._account, self._container = names[0], names[-1]

    @classmethod
    def of(cls, twin: TenantTwin, workspace: str, uri: str, principal: str) -> "Folder":
        """Returns the folder of an azureml:// URI.

        Raises:
            FilesError: the URI does not name a folder of this twin.
            ArmError: the datastore does not exist.
        """
        with twin.lock:
            found = data_path(twin, workspace, uri, "uri")
            container_id = found.container_id(twin) if found else ""
        if found is None:
            raise FilesError(f"{uri} is not a path in a datastore of this twin (azureml://datastores/…/paths/…)")
        if not container_id:
            raise FilesError(f"the storage account of datastore {found.datastore['name']} was not found")
        return cls(twin, container_id, found.path, principal)

    @property
    def name(self) -> str:
        """The last part of the folder's path."""
        return self.path.rpartition("/")[2]

    def fetch(self, target: Path, *, may_lack: bool = False) -> None:
        """Downloads the folder's files to a folder of this machine; a single file keeps its name.

        Raises:
            FilesError: the identity lacks a permission, or there is nothing.
        """
        self._require(READ)
        target.mkdir(parents=True, exist_ok=True)
        names = [each.name for each in blobs.list_blobs(self._twin, self._account, self._container, self.path)]
        found = [name for name in names if self._is_in(name)]
        if not found and not may_lack:
            raise FilesError(f"there is nothing at {self._container}/{self.path} of account {self._account}")
        for name in found:
            path = name[len(self.path) :].strip("/") or self.name
            if why := object_keys.fault(path):
                raise FilesError(f"the blob {object_keys.shown(name)} can't be a file below a folder: it {why}")
            file = target / path
            blobs.download(self._twin, self._account, self._container, name, file)

    def put(self, file: Path, path: str) -> None:
        """Uploads a file into the folder.

        Raises:
            FilesError: the identity lacks a permission.
        """
        self._require(WRITE)
        blobs.upload(self._twin, self._account, self._container, f"{self.path}/{path}".strip("/"), file)

    def remove(self, path: str) -> None:
        """Deletes a file in the folder.

        Raises:
            FilesError: the identity lacks a permission.
        """
        self._require(DELETE)
        blobs.delete(self._twin, self._account, self._container, f"{self.path}/{path}".strip("/"))

    def require_write(self) -> None:
        """Raises FilesError unless the identity may write."""
        self._require(WRITE)

    def _is_in(self, name: str) -> bool:
        return not name.endswith("/") and (not self.path or name == self.path or name.startswith(f"{self.path}/"))

    def _require(self, action: str) -> None:
        with self._twin.lock:
            allowed = self._twin.may(self._principal, action, self._container_id, data=True)
        if not allowed:
            raise FilesError(
                f"AuthorizationPermissionMismatch: the identity {self._principal} is not authorized to perform "
                f"{action} on {self._container_id}"
            )
