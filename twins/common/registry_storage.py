"""Where the registry's manifests and layers lie: Debian's docker-registry, a child of the twin on a unix socket."""

import ctypes
import json
import shutil
import signal
import subprocess
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from contract.errors import KitError
from hosting.files import UnixConnection, write_atomic

_PROGRAMS = ("docker-registry", "registry")  # Debian's name of it, and the vendor's
_START_SECONDS = 30
_WAIT_SECONDS = 120  # of a connection on which nothing comes
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


class Storage:
    """Started by the first connection; `data` stays in the folder. The program keeps content by digest: which
    repositories there are, what may be seen and what a tag means, is the twin's to say.
    """

    def __init__(self, folder: Path, restart: str) -> None:
        self._folder = folder
        self._restart = restart
        self._socket = folder / "registry.sock"
        self._garbage = folder / "garbage"
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def connect(self) -> UnixConnection:
        """A connection to the program, which runs from now on.

        Raises:
            KitError: it is not on this machine, or does not start.
        """
        with self._lock:
            if not self._process or self._process.poll() is not None:
                self._start()
        return UnixConnection(self._socket, _WAIT_SECONDS)

    def delete(self, name: str, digest: str) -> None:
        """Drop a manifest; what only it had is gone from the disk after the next start."""
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
        """Drop all of a repository."""
        for folder in (self._folder / "data/docker/registry/v2/repositories" / name).glob("_*"):
            shutil.rmtree(folder, ignore_errors=True)
            self._garbage.touch()

    def empty(self) -> bool:
        """Drop everything. Was there anything?"""
        with self._lock:
            self._stop()
            found = (self._folder / "data").exists()
            shutil.rmtree(self._folder / "data", ignore_errors=True)
            self._garbage.unlink(missing_ok=True)
        return found

    def close(self) -> None:
        """End the program."""
        with self._lock:
            self._closed = True
            self._stop()

    def _start(self) -> None:
        program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
        if not program:
            raise KitError(
                "docker-registry is not on this machine, which keeps the images of the twin's registries",
                fix="apt-get install docker-registry (Debian, Ubuntu), and push again",
            )
        if self._closed:
            raise KitError("the twin is ending", fix=self._restart)
        (self._folder / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
        # JSON is YAML. Paths are relative to the folder: that of a unix socket has at most 107 bytes.
        write_atomic(self._folder / "config.yml", json.dumps(_configuration(self._socket.name)))
        if self._garbage.exists():
            command = [program, "garbage-collect", "config.yml"]
            subprocess.run(command, cwd=self._folder, stdin=subprocess.DEVNULL, capture_output=True)
            self._garbage.unlink(missing_ok=True)
        self._socket.unlink(missing_ok=True)
        started = threading.Event()
        threading.Thread(target=self._keep, args=(program, started), name="registry", daemon=True).start()
        started.wait()
        self._await_socket()

    def _keep(self, program: str, started: threading.Event) -> None:
        """Own the child: its death signal comes when this thread ends, so it is no thread of a request."""
        try:
            with (self._folder / "registry.log").open("wb") as log:
                self._process = subprocess.Popen(
                    [program, "serve", "config.yml"],
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={},  # nothing of the user's: REGISTRY_… would change the configuration
                    preexec_fn=_die_with_parent,
                )
        finally:
            started.set()
        self._process.wait()

    def _await_socket(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while self._process and self._process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError), closing(UnixConnection(self._socket, _WAIT_SECONDS)) as connection:
                connection.connect()
                return
            time.sleep(0.02)
        self._stop()
        log = self._folder / "registry.log"
        last = log.read_text(errors="replace").splitlines()[-3:] if log.exists() else []
        raise KitError("docker-registry did not start: " + " / ".join(last), where=str(log))

    def _stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None


def _configuration(socket: str) -> dict[str, object]:
    return {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": "data"}, "delete": {"enabled": True}},
        "http": {"net": "unix", "addr": socket, "secret": "of-uploads-of-one-process", "relativeurls": True},
    }


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)
