"""A twin of Azure without a server, whose main port is called directly; for unit tests of services."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from werkzeug.test import Client

from llmops_twins.azure.entra import principals, tokens
from llmops_twins.azure.main_port import ManagerApp
from llmops_twins.azure.protocol.calls import Principal
from llmops_twins.azure.server import install
from llmops_twins.azure.twin import TenantTwin, TwinSettings

GROUP_VERSION = "2024-03-01"


@dataclass
class Answer:
    """An answer of ARM."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def code(self) -> str:
        """Of the error; empty without one."""
        return self.body["error"]["code"] if isinstance(self.body, dict) and "error" in self.body else ""


class Arm:
    """Calls of ARM as the owner, or as another principal, within the process."""

    def __init__(self, twin: TenantTwin, caller: Principal = principals.OWNER) -> None:
        self.twin = twin
        self.caller = caller
        self._client = Client(ManagerApp(twin))

    def call(self, method: str, path: str, version: str = "", body: Any = None, /, **query: str) -> Answer:
        """One call; `path` begins with / or with "{sub}" for the twin's subscription."""
        token = tokens.issue(self.twin, self.caller, tokens.MANAGEMENT[0])
        answered = self._client.open(
            path.replace("{sub}", f"/subscriptions/{self.twin.subscription}"),
            method=method,
            query_string={**({"api-version": version} if version else {}), **query},
            headers={"Authorization": f"Bearer {token}"},
            data=None if body is None else json.dumps(body),
        )
        text = answered.get_data(as_text=True)
        return Answer(answered.status_code, json.loads(text) if text else None, dict(answered.headers))

    def put(self, path: str, version: str, body: Any) -> Answer:
        return self.call("PUT", path, version, body)

    def get(self, path: str, version: str, /, **query: str) -> Answer:
        return self.call("GET", path, version, **query)

    def delete(self, path: str, version: str, /, **query: str) -> Answer:
        return self.call("DELETE", path, version, **query)

    def group(self, name: str = "rg", location: str = "westeurope") -> str:
        """A resource group's id, made when missing."""
        path = f"/subscriptions/{self.twin.subscription}/resourceGroups/{name}"
        assert self.put(path, GROUP_VERSION, {"location": location}).status in (200, 201)
        return path

    def pass_time(self) -> None:
        """Let every timer be due, and what they do be done (the twin's clock does not run in these tests)."""
        while self.twin.state.get("timers"):
            for timer in self.twin.state["timers"]:
                timer["due"] = 0.0
            self.twin.run_due()


def local_twin(home: Path, *services: Callable[[TenantTwin], None], **settings: Any) -> TenantTwin:
    """A twin whose clock does not run: with all services, or with these alone."""
    (home / tokens.KEY_FILE).write_text(_signing_key())
    twin = TenantTwin(home, TwinSettings(**{"containers": "none", "pace": 0.0, **settings}))
    if services:
        from llmops_twins.azure.arm import operations
        from llmops_twins.azure.services import resources

        for add in (operations.install, principals.install, resources.install, *services):
            add(twin)
    else:
        install(twin)
    twin.seed()
    return twin


@cache
def _signing_key() -> str:
    """One key signs the tokens of all of a process's twins: each would take its time."""
    with TemporaryDirectory() as folder:
        tokens.private_key(Path(folder))
        return (Path(folder) / tokens.KEY_FILE).read_text()
