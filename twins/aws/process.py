"""What the process of a twin tells of itself (twin.json), and the stand-in plugin that it keeps as a child."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from twins.aws import plugin
from twins.aws.persistence import replace_file
from twins.aws.twin import Twin, log

INFO_FILE = "twin.json"
_PROVIDER = "twins.providers.aws"
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


class Process:
    """This process: where it answers, since when, with which plugin for Pulumi."""

    def __init__(self, twin: Twin, url: str) -> None:
        self._twin = twin
        self._url = url
        self._started = time.time()
        self._port_file = twin.home / "provider.port"
        self._provider: subprocess.Popen[bytes] | None = None
        self._failed = False
        self._plugin = plugin.installed()

    def run(self, stopped: threading.Event, stand_in: bool) -> None:
        """Write twin.json, keep the stand-in alive, until the event."""
        if stand_in and not self._plugin:
            self._start_provider()
        self._write()
        known = self.described()
        while not stopped.wait(1.0 if self.provider_port() or not self._provider else 0.05):
            self._watch_provider()
            if known != self.described():
                known = self.described()
                self._write()
        if self._provider:
            self._provider.terminate()
            self._provider.wait()

    def provider_port(self) -> int:
        """Where the stand-in plugin listens; 0: it is not ready, or there is none."""
        try:
            return int(self._port_file.read_text()) if self._provider and self._provider.poll() is None else 0
        except (OSError, ValueError):
            return 0

    def described(self) -> dict[str, Any]:
        """The content of twin.json."""
        return {
            "schema": "twin/1",
            "url": self._url,
            "port": int(self._url.rpartition(":")[2]),
            "provider": self._kind(),
            "provider_port": self.provider_port(),
            "account": self._twin.account,
            "region": self._twin.region,
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
            self._failed = not self._port_file.exists()  # it never was ready: another would not be either
            if not self._failed:
                self._start_provider()

    def _write(self) -> None:
        replace_file(self._twin.home / INFO_FILE, json.dumps(self.described(), indent=2).encode() + b"\n")

    def _start_provider(self) -> None:
        self._port_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", _PROVIDER, "--twin", self._url, "--port-file", str(self._port_file)]
        self._provider = subprocess.Popen(
            command,
            cwd=self._twin.home,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            preexec_fn=_die_with_parent,  # a killed twin must leave nothing behind
        )


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)
