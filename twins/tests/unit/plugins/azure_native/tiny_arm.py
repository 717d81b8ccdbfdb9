"""A Resource Manager of a few lines within the process: it keeps what is put, and answers as it is told to."""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from twins.plugins.azure_native.arm import Answer, Arm
from twins.plugins.azure_native.provider import AzureNativeProvider
from twins.plugins.azure_native.session import AzureSession
from twins.plugins.plugin import Request

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/group"


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


@dataclass
class TinyArm:
    """In place of kept connections. `next` answers come before what is kept does."""

    kept: dict[str, dict[str, Any]] = field(default_factory=lambda: {GROUP: {"location": "westeurope"}})
    next: deque[tuple[str, Answer | OSError]] = field(default_factory=deque)
    """(method, answer), in the order in which such methods are asked."""
    asked: list[Asked] = field(default_factory=list)

    def call(self, method: str, url: str, headers: Mapping[str, str], data: bytes | None) -> Answer:
        assert headers["Authorization"] == "Bearer token"
        parts = urlsplit(url)
        body = json.loads(data) if data else None
        self.asked.append(Asked(method, parts.path, dict(parse_qsl(parts.query)), body))
        if self.next and self.next[0][0] == method:
            told = self.next.popleft()[1]
            if isinstance(told, OSError):
                raise told
            return told
        return getattr(self, f"_{method.lower()}")(parts.path, body)

    def say(self, method: str, status: int, body: Any = None, **headers: str) -> None:
        """Answer the next such request so. Headers' names with `_` for `-`."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        self.next.append((method, Answer(status, told, body, json.dumps(body) if body is not None else "")))

    def methods(self) -> list[str]:
        """Of what was asked so far; forgets it."""
        found = [each.method for each in self.asked]
        self.asked.clear()
        return found

    def _get(self, path: str, body: Any) -> Answer:
        found = self.kept.get(path)
        return Answer(200, {}, found) if found is not None else Answer(404, {}, _refusal("ResourceNotFound", path))

    def _put(self, path: str, body: Any) -> Answer:
        there = path in self.kept
        self.kept[path] = {**body, "id": path, "type": "Kind"} | (
            {} if "name" in body else {"name": path.split("/")[-1]}
        )
        return Answer(200 if there else 201, {}, self.kept[path])

    _patch = _put

    def _post(self, path: str, body: Any) -> Answer:
        return Answer(200, {}, {"posted": path.rpartition("/")[2]})

    def _delete(self, path: str, body: Any) -> Answer:
        return Answer(200 if self.kept.pop(path, None) else 404, {}, None)


def _refusal(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def session(arm: TinyArm, **fields: Any) -> AzureSession:
    """A session on it, which waits next to nothing."""
    there = Arm("https://localhost:1", arm, lambda _: "token", pace=1e6)  # type: ignore[arg-type]
    return AzureSession(subscription=SUBSCRIPTION, arm=there, **fields)


def request(arm: TinyArm, token: str, name: str = "one", **fields: Any) -> Request[AzureSession]:
    """What the engine asks of a resource."""
    return Request(session(arm, **fields), f"urn:pulumi:stack::project::{token}::{name}", token, name)


def provider() -> AzureNativeProvider:
    """The stand-in; sessions come with requests."""
    return AzureNativeProvider()
