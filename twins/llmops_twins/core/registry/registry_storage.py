"""Storage of the registry's manifests and layers: Debian's docker-registry, a child of the twin on a unix socket."""

import json
import shutil
import subprocess
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from llmops_kit.core.errors import KitError
from llmops_kit.local_runtime.files import UnixConnection, write_atomic
from llmops_twins.core.child import Child

_PROGRAMS = ("docker-registry", "registry")  # Debian's name of the program, and upstream's
_START_SECONDS = 30
_WAIT_SECONDS = 120  # time limit of a connection without traffic


class Storage:
    """Starts the program with the first connection; `data` stays in the folder. It stores content by digest;
    repositories, permissions and tags are left to the twin.
    """

    def __init__(self, folder: Path, restart: str) -> None:
        self._folder = folder
        self._restart = restart
        self._socket = folder / "registry.sock"
        self._garbage = folder / "garbage"
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._closed = False

    def connect(self) -> UnixConnection:
        """Returns a connection to the program, starting it if needed.

        Raises:
            KitError: the program is not installed, or does not start.
        """
        with self._lock:
            if not self._child or not self._child.runs():
                self._start()
        return UnixConnection(self._socket, _WAIT_SECONDS)

    def delete(self, name: str, digest: str) -> None:
        """Deletes a manifest; its unshared layers are removed from disk at the next start."""
        if not (self._folder / "data").exists():
            return
        connection = self.connect()
        try:
            connection.request("DELETE", f"/v2/{name}/manifests/{digest}")
            connection.getresponse().read()
        finally:
            connection.close()
        self._garbage.touch()

    def forget(self, name: str) -> None:
        """Deletes a repository."""
        for folder in (self._folder / "data/docker/registry/v2/repositories" / name).glob("_*"):
            shutil.rmtree(folder, ignore_errors=True)
            self._garbage.touch()

    def empty(self) -> bool:
        """Deletes everything. Returns whether there was anything."""
        with self._lock:
            self._stop()
            found = (self._folder / "data").exists()
            shutil.rmtree(self._folder / "data", ignore_errors=True)
            self._garbage.unlink(missing_ok=True)
        return found

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._stop()

    def _start(self) -> None:
        program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
        if not program:
            raise KitError(
                "docker-registry is not on this machine; the twin stores images in it",
                fix="apt-get install docker-registry (Debian, Ubuntu), and push again",
            )
        if self._closed:
            raise KitError("the twin is ending", fix=self._restart)
        (self._folder / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
        # JSON is valid YAML. Paths are relative to the folder: a Unix socket's path has at most 107 bytes.
        write_atomic(self._folder / "config.yml", json.dumps(_configuration(self._socket.name)))
        if self._garbage.exists():
            command = [program, "garbage-collect", "config.yml"]
            subprocess.run(command, cwd=self._folder, stdin=subprocess.DEVNULL, capture_output=True)
            self._garbage.unlink(missing_ok=True)
        self._socket.unlink(missing_ok=True)
        # Without the user's environment: variables named REGISTRY_… would override the configuration.
        command = [program, "serve", "config.yml"]
        self._child = Child(command, self._folder, self._folder / "registry.log", {})
        self._await_socket(self._child)

    def _await_socket(self, child: Child) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while child.runs() and time.monotonic() < deadline:
            with suppress(OSError), closing(UnixConnection(self._socket, _WAIT_SECONDS)) as connection:
                connection.connect()
                return
            time.sleep(0.02)
        self._stop()
        raise KitError("docker-registry did not start: " + child.last_words(), where=str(self._folder / "registry.log"))

    def _stop(self) -> None:
        if self._child:
            self._child.stop()
        self._child = None


def _configuration(socket: str) -> dict[str, object]:
    return {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": "data"}, "delete": {"enabled": True}},
        "http": {"net": "unix", "addr": socket, "secret": "of-uploads-of-one-process", "relativeurls": True},
    }
