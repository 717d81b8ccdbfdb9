"""The description of a twin's process (twin.json), and the stand-in plugin that it keeps as a child."""

import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmops_kit.core.core_dumps import no_core_files
from llmops_kit.local_runtime.files import write_atomic
from llmops_twins.core import plugin
from llmops_twins.core.child import die_with_parent
from llmops_twins.core.stopping import StopSignal
from llmops_twins.core.twin import BaseTwin

INFO_FILE = "twin.json"
log = logging.getLogger("twins")


class Process:
    """This process: its address, start time, and Pulumi plugin.

    Args:
        twin: the twin of this process.
        url: URL of the twin's main port.
        package: Pulumi package: "aws", "azure-native".
        provider: module of the stand-in, which is started with `--twin URL --port-file FILE`.
        facts: returns additional members of twin.json.
        environ: additional variables of the stand-in.
    """

    def __init__(
        self,
        twin: BaseTwin,
        url: str,
        package: str,
        provider: str,
        facts: Callable[[], Mapping[str, Any]],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._twin = twin
        self._url = url
        self._module = provider
        self._facts = facts
        self._environ = dict(environ or {})
        self._started = time.time()
        self._port_file = twin.home / "provider.port"
        self._provider: subprocess.Popen[bytes] | None = None
        self._failed = False
        self._plugin = plugin.installed(package)

    def run(self, stopped: StopSignal, stand_in: bool) -> None:
        """Writes twin.json and keeps the stand-in alive, until the signal."""
        if stand_in and not self._plugin and find_spec("pulumi"):
            self._start_provider()
        written = self._write()
        while not stopped.wait(1.0 if written["provider_port"] or not self._provider else 0.05):
            self._watch_provider()
            if written != self.described():
                written = self._write()
        if self._provider:
            self._provider.terminate()
            self._provider.wait()

    def provider_port(self) -> int:
        """Returns the port of the stand-in plugin; 0 if it is not ready, or there is none."""
        try:
            return int(self._port_file.read_text()) if self._provider and self._provider.poll() is None else 0
        except (OSError, ValueError):
            return 0

    def described(self) -> dict[str, Any]:
        return {
            "schema": "twin/1",
            "url": self._url,
            "port": int(self._url.rpartition(":")[2]),
            "provider": self._kind(),
            "provider_port": self.provider_port(),
            **self._facts(),
            "judge": self._twin.settings.judge,
            "pace": self._twin.settings.pace,
            "containers": self._twin.settings.containers,
            "pids": {"twin": os.getpid(), **({"provider": self._provider.pid} if self._provider else {})},
            "started": self._started,
        }

    def _kind(self) -> str:
        if self._plugin:
            return f"plugin {self._plugin}"
        return "stand-in" if self._provider else "failed" if self._failed else "none"

    def _watch_provider(self) -> None:
        if self._provider and self._provider.poll() is not None:
            log.error("the stand-in plugin ended with status %s", self._provider.returncode)
            self._provider = None
            self._failed = not self._port_file.exists()  # it was never ready, so a restart would fail too
            if not self._failed:
                self._start_provider()

    def _write(self) -> dict[str, Any]:
        """Writes twin.json, and returns its content, which may be outdated once it is written."""
        described = self.described()
        write_atomic(self._twin.home / INFO_FILE, json.dumps(described, indent=2) + "\n")
        return described

    def _start_provider(self) -> None:
        self._port_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", self._module, "--twin", self._url, "--port-file", str(self._port_file)]
        self._provider = subprocess.Popen(
            command,
            cwd=self._twin.home,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self._environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            preexec_fn=die_with_parent,  # a killed twin must leave nothing behind
        )


def prepare(home: Path) -> StopSignal:
    """Prepares this process to serve until a signal: files for its user only, as many open files as allowed."""
    os.umask(0o077)
    no_core_files()
    sys.setswitchinterval(0.001)  # limits how long a computing thread delays the next piece of a stream
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each object that is being read is an open file
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return StopSignal()
