"""The folders of a job: inputs fetched before it starts, outputs copied to blobs while it runs and when it ends.

https://learn.microsoft.com/azure/machine-learning/how-to-read-write-data-v2
"""

from collections.abc import Callable
from pathlib import Path

from llmops_twins.azure.ml import references
from llmops_twins.azure.ml.running.datastore_files import FilesError, Folder
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.jobs.job_files import Carrier

_DATA = {"uri_folder": "data", "uri_file": "data", "mltable": "data"}
_LITERAL = "literal"
_MOUNTED = "ReadWriteMount"
_DIRECT = "Direct"


class Folders:
    """The folders of one attempt. All nodes share them, as with a mount.

    Args:
        twin: the subscription.
        job: the job's document.
        principal: object id of the identity that the job runs under.
        home: the folders' parent on this machine.
    """

    def __init__(self, twin: TenantTwin, job: Document, principal: str, home: Path) -> None:
        self._twin = twin
        self._job = job
        self._principal = principal
        self._home = home
        self._workspace = references.workspace_of(job["id"])
        self._mounted: list[Carrier] = []
        self._uploaded: list[Carrier] = []
        self.paths: dict[tuple[str, str], str] = {}
        """The container's paths, by "inputs" or "outputs" and name."""
        self.folders: dict[str, Path] = {}
        """The folder of this machine, by the container's path."""
        self.read_only: list[str] = []

    @property
    def _top(self) -> str:
        return f"/mnt/azureml/cr/j/{self._job['name']}/cap/data-capability/wd"

    def fetch(self, going: Callable[[], None]) -> None:
        """Fetches inputs, code, and the existing content of mounted outputs.

        Args:
            going: called between folders; an exception from it ends the work.

        Raises:
            FilesError: an input does not exist, or the identity lacks a permission.
        """
        properties = self._job["properties"]
        for name, given in (properties.get("inputs") or {}).items():
            going()
            if given["jobInputType"] != _LITERAL and given.get("uri"):
                self._fetch_input(name, given)
        for name, given in (properties.get("outputs") or {}).items():
            going()
            self._prepare_output(name, given or {})
        self._fetch_code(properties.get("codeId"))

    def carry(self, *, last: bool = False, done: bool = False, cut: bool = False) -> None:
        """Copies new files of mounted outputs, and of the others once the job is `done`. With `cut`, copies only what
        the machines wrote before they were reclaimed.

        Raises:
            FilesError: the identity lacks a permission.
        """
        for carrier in [*self._mounted, *(self._uploaded if done else [])]:
            carrier.carry(last=last or done, cut=cut)

    def _fetch_input(self, name: str, given: Document) -> None:
        if given.get("mode") == _DIRECT:
            self.paths["inputs", name] = given["uri"]
            return
        folder = Folder.of(self._twin, self._workspace, self._uri_of(given), self._principal)
        path, target = f"{self._top}/INPUT_{name}", self._home / "inputs" / name
        folder.fetch(target)
        is_file = given["jobInputType"] == "uri_file"
        self.paths["inputs", name] = f"{path}/{folder.name}" if is_file else path
        self.folders[path] = target
        self.read_only.append(path)

    def _uri_of(self, given: Document) -> str:
        """Returns the datastore URI of an input, which names it directly or by an asset."""
        uri = given["uri"]
        with self._twin.lock:
            if references.data_path(self._twin, self._workspace, uri, "uri"):
                return uri
            kind = _DATA.get(given["jobInputType"], "models")
            found = references.asset(self._twin, self._workspace, uri, kind, "uri")["properties"]
        return found.get("modelUri") or found.get("dataUri") or ""

    def _prepare_output(self, name: str, given: Document) -> None:
        path, target = f"{self._top}/{name}", self._home / "outputs" / name
        target.mkdir(parents=True, exist_ok=True)
        self.paths["outputs", name], self.folders[path] = path, target
        default = f"azureml://datastores/workspaceblobstore/paths/azureml/{self._job['name']}/{name}/"
        folder = Folder.of(self._twin, self._workspace, given.get("uri") or default, self._principal)
        folder.require_write()
        if given.get("mode", _MOUNTED) != _MOUNTED:
            self._uploaded.append(Carrier(target, folder.put))
            return
        folder.fetch(target, may_lack=True)
        carrier = Carrier(target, folder.put, folder.remove)
        carrier.know()
        self._mounted.append(carrier)

    def _fetch_code(self, code_id: str | None) -> None:
        if not code_id:
            return
        with self._twin.lock:
            code = references.asset(self._twin, self._workspace, code_id, "codes", "codeId")
        folder = _of_blob_url(self._twin, code["properties"].get("codeUri") or "", self._principal)
        self.folders[self.code] = self._home / "code"
        folder.fetch(self._home / "code")

    @property
    def code(self) -> str:
        """The container's working directory."""
        return f"/mnt/azureml/cr/j/{self._job['name']}/exe/wd"


def _of_blob_url(twin: TenantTwin, url: str, principal: str) -> Folder:
    """Returns the folder at https://<account's host>/<container>/<path>.

    Raises:
        FilesError: no storage account of this twin has that address.
    """
    from llmops_twins.azure.blobs import blobs

    with twin.lock:
        for document in twin.resources.values():
            endpoints = document["properties"].get("primaryEndpoints") or {} if "properties" in document else {}
            beginning = str(endpoints.get("blob") or "").rstrip("/") + "/"
            if document["type"] == blobs.ACCOUNTS and len(beginning) > 1 and url.startswith(beginning):
                container, _, path = url[len(beginning) :].partition("/")
                return Folder(twin, blobs.container_id(document, container), path.strip("/"), principal)
    raise FilesError(f"{url} is in no storage account of this twin")
