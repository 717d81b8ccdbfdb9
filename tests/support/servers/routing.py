"""A router for tests, in front of servers that tests start themselves."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmops_kit.local_runtime.files import UnixConnection
from llmops_kit.local_runtime.ports import choose_port
from llmops_kit.local_runtime.routing.balance import Routes
from llmops_kit.local_runtime.routing.router import CONFIGURATION, ROUTES, SOCKET, RouterConfiguration
from tests.support.checkout import IMPORT_PATH
from tests.support.servers.serving import until


class RouterProcess:
    """`python -m llmops_kit.local_runtime.routing.router` with one variant, v1, whose workers take connections."""

    def __init__(self, folder: Path, sockets: Mapping[str, str]) -> None:
        """Start it. `sockets`: a worker's URL -> its unix socket, relative to `folder`."""
        self.folder = folder
        self.port = choose_port("127.0.0.1")
        many = {"max_connections": 4096, "max_connections_per_address": 4096}
        RouterConfiguration.new(endpoint="routed", port=self.port, **many).write(folder / CONFIGURATION)
        route = {"weight": 1, "backends": list(sockets), "sockets": dict(sockets)}
        Routes.new(variants={"v1": route}).write(folder / ROUTES)
        self.start()

    def start(self) -> None:
        """Start it, again after it was killed."""
        (self.folder / SOCKET).unlink(missing_ok=True)
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": IMPORT_PATH}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llmops_kit.local_runtime.routing.router", "."], cwd=self.folder, env=environ
        )

    def wait(self) -> None:
        """Wait until it hands over to every worker."""
        until(lambda: (backends := self.backends()) and all(b["takes_connections"] for b in backends))

    def backends(self) -> list[dict[str, Any]]:
        """Its view of the workers; empty while it does not answer."""
        connection = UnixConnection(self.folder / SOCKET, timeout=60)
        try:
            connection.request("GET", "/state")
            return json.loads(connection.getresponse().read())["backends"]
        except OSError:
            return []
        finally:
            connection.close()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()
