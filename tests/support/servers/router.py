"""A router's process in front of servers that a test has."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from llmops_kit.local_runtime.ports import choose_port
from llmops_kit.local_runtime.routing.balance import Routes
from llmops_kit.local_runtime.routing.router import CONFIGURATION, ROUTES, RouterConfiguration
from tests.support.checkout import IMPORT_PATH
from tests.support.servers.serving import until


class RouterProcess:
    """`python -m llmops_kit.local_runtime.routing.router`, which is ready once it is made."""

    def __init__(self, folder: Path, backend: str, key_sha256: str = "", **configuration: Any) -> None:
        folder.mkdir(parents=True)
        self.port = choose_port("127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "router.log"
        RouterConfiguration.new(endpoint="test", port=self.port, **configuration).write(folder / CONFIGURATION)
        variant = {"weight": 1, "backends": [backend], "key_sha256": key_sha256}
        Routes.new(variants={"v1": variant}).write(folder / ROUTES)
        command = [sys.executable, "-m", "llmops_kit.local_runtime.routing.router", "."]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env={"PYTHONPATH": IMPORT_PATH}, stdout=log, stderr=log
            )
        until(lambda: "healthy" in self.log.read_text() or self._ended(), 30)

    def kill(self) -> None:
        """End at once."""
        self.process.kill()
        self.process.wait()

    def _ended(self) -> None:
        if self.process.poll() is not None:
            raise AssertionError(f"the router ended:\n{self.log.read_text()}")
