"""Azurite (npm), which stores the blobs: a child of the twin on a port of 127.0.0.1, with files in the twin's home.

It is started by the first request for a blob, and only the twin connects to it. Azurite's accounts are fixed at its
start, so each of the twin's storage accounts uses one of a set of numbered accounts ("slots").
https://github.com/Azure/Azurite
"""

import base64
import hashlib
import hmac
import json
import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psutil

from llmops_kit.core.errors import KitError
from llmops_kit.local_runtime.files import write_atomic
from llmops_kit.local_runtime.ports import choose_port
from llmops_twins.core import node_programs
from llmops_twins.core.child import Child

AZURITE = node_programs.NodeProgram(
    sources=Path(__file__).parent / "node",
    needs="azurite",
    name="Azurite, which keeps the blobs of a twin,",
    extra="azure",
    instead="copy the folder `node` of llmops' cache from a machine that has them",
)
SLOTS = 1000
_SCRIPT = "node_modules/azurite/dist/src/blob/main.js"
# A parent with several threads sends several death signals; the first makes Azurite save, and the others must not end
# it meanwhile.
_PATIENT = "data:text/javascript,process.on('SIGTERM',()=>{})"
_START_SECONDS = 60
_WAIT_SECONDS = 300  # time limit of a connection without traffic
_VERSION = "2020-10-02"  # of the signature's format
_LAST_DAY = "2999-01-01T00:00:00Z"


class Azurite:
    """The program, with its own folder."""

    def __init__(self, folder: Path, restart: str) -> None:
        self._folder = folder
        self._restart = restart
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._port = 0
        self._closed = False
        self.starts = 0

    def request(
        self,
        slot: int,
        method: str,
        path: str,
        query: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> tuple[HTTPConnection, HTTPResponse]:
        """Sends a request to a slot; `path` is "container/blob". The caller closes the connection.

        Raises:
            KitError: Azurite is not installed, or does not start.
            OSError, HTTPException: the connection broke.
        """
        signed = [*(query.items() if isinstance(query, Mapping) else query), *self._signature(slot).items()]
        url = f"/{_account(slot)}/{quote(path, safe='/~')}?{urlencode(signed)}"
        connection = self._connected()
        try:
            connection.request(method, url, body, dict(headers or {}))
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def _connected(self) -> HTTPConnection:
        """Returns a connection, restarting Azurite if it has died."""
        port = self._started()
        try:
            return _connection(port)
        except ConnectionRefusedError:
            with self._lock:
                if port == self._port:
                    self._stop()
        return _connection(self._started())

    def url(self, slot: int, path: str) -> str:
        """Returns a URL for Azurite itself to read, as the source of a copy."""
        query = urlencode(self._signature(slot))
        return f"http://127.0.0.1:{self._started()}/{_account(slot)}/{quote(path, safe='/~')}?{query}"

    def endpoint(self, slot: int) -> str:
        """Returns the address of a slot in Azurite's responses."""
        return f"http://127.0.0.1:{self._port}/{_account(slot)}"

    def used(self) -> bool:
        """Returns whether anything was ever stored."""
        return (self._folder / "data").exists()

    def empty(self) -> None:
        """Deletes everything."""
        with self._lock:
            self._stop()
            shutil.rmtree(self._folder / "data", ignore_errors=True)

    def close(self) -> None:
        """Ends the program, which then saves its state."""
        with self._lock:
            self._closed = True
            self._stop()

    def _started(self) -> int:
        with self._lock:
            if not self._child or not self._child.runs():
                self._start()
            return self._port

    def _start(self) -> None:
        if self._closed:
            raise KitError("the twin is ending", fix=self._restart)
        installed = node_programs.install(AZURITE)
        (self._folder / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
        self._await_end_of_another()
        self.starts += 1
        self._port = choose_port("127.0.0.1")
        options = ["--blobHost", "127.0.0.1", "--blobPort", str(self._port), "--location", "data"]
        options += ["--silent", "--skipApiVersionCheck", "--loose", "--disableTelemetry", "--disableProductStyleUrl"]
        accounts = ";".join(f"{_account(slot)}:{self._key}" for slot in range(SLOTS))
        command = [str(installed.node), f"--import={_PATIENT}", str(installed.folder / _SCRIPT), *options]
        self._child = Child(command, self._folder, self._folder / "azurite.log", {"AZURITE_ACCOUNTS": accounts})
        write_atomic(self._folder / "azurite.pid", json.dumps(self._child.pid))
        self._await_port(self._child)

    def _await_end_of_another(self) -> None:
        """Ends the Azurite of a killed twin, and waits while it saves its state."""
        file = self._folder / "azurite.pid"
        if not file.exists():
            return
        with suppress(psutil.Error, ValueError):
            process = psutil.Process(json.loads(file.read_text()))
            if str(self._folder.resolve()) == process.cwd():
                process.terminate()
                process.wait(_START_SECONDS)

    def _await_port(self, child: Child) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while child.runs() and time.monotonic() < deadline:
            with suppress(OSError):
                _connection(self._port).close()
                return
            time.sleep(0.05)
        self._stop()
        raise KitError("Azurite did not start: " + child.last_words(), where=str(self._folder / "azurite.log"))

    def _stop(self) -> None:
        if self._child:
            self._child.stop()
        self._child = None

    @cached_property
    def _key(self) -> str:
        """The key of all slots, generated once for each home."""
        file = self._folder / "key"
        if not file.exists():
            write_atomic(file, base64.b64encode(secrets.token_bytes(32)).decode())
        return file.read_text()

    def _signature(self, slot: int) -> dict[str, str]:
        """Returns the query of a shared access signature with all permissions on a slot.

        https://learn.microsoft.com/rest/api/storageservices/create-account-sas
        """
        query = {"sv": _VERSION, "ss": "b", "srt": "sco", "sp": "rwdlacuptf", "se": _LAST_DAY, "spr": "https,http"}
        parts = (_account(slot), query["sp"], query["ss"], query["srt"], "", query["se"], "", query["spr"], query["sv"])
        text = "\n".join([*parts, ""])
        signature = hmac.new(base64.b64decode(self._key), text.encode(), hashlib.sha256).digest()
        return {**query, "sig": base64.b64encode(signature).decode()}


def _connection(port: int) -> HTTPConnection:
    connection = HTTPConnection("127.0.0.1", port, timeout=_WAIT_SECONDS)
    connection.connect()
    return connection


def _account(slot: int) -> str:
    return f"twin{slot:03}"
