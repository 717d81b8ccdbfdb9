"""A Resource Manager of a few lines within the process: it keeps what is put, and answers as it is told to."""

import io
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from requests.adapters import BaseAdapter

from llmops_twins.plugins.azure_native.arm import ManagerClient
from llmops_twins.plugins.azure_native.provider import AzureNativeProvider
from llmops_twins.plugins.azure_native.session import PluginSession
from llmops_twins.plugins.plugin import PluginRequest

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/group"


@dataclass(frozen=True)
class TinyAnswer:
    """What a server answers."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class AnsweringAdapter(BaseAdapter):
    """Lets a function answer in place of the network: (method, url, headers, body)."""

    def __init__(self, answer: Callable[[str, str, Mapping[str, str], str], TinyAnswer]) -> None:
        super().__init__()
        self._answer = answer

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        body = request.body.decode() if isinstance(request.body, bytes) else str(request.body or "")
        headers = {name: str(value) for name, value in request.headers.items()}
        told = self._answer(request.method or "", request.url or "", headers, body)
        found = requests.Response()
        found.status_code, found.request, found.url = told.status, request, request.url or ""
        found.headers.update(told.headers)
        found.raw = io.BytesIO(b"" if told.body is None else json.dumps(told.body).encode())
        return found

    def close(self) -> None:
        pass


def answering(answer: Callable[[str, str, Mapping[str, str], str], TinyAnswer]) -> requests.Session:
    """Connections to nowhere."""
    made = requests.Session()
    made.mount("https://", AnsweringAdapter(answer))
    return made


@dataclass(frozen=True)
class TinyRequest:
    """A request that came."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


@dataclass
class TinyArm:
    """In place of kept connections. `next` answers come before what is kept does."""

    kept: dict[str, dict[str, Any]] = field(default_factory=lambda: {GROUP: {"location": "westeurope"}})
    next: deque[tuple[str, TinyAnswer | requests.RequestException]] = field(default_factory=deque)
    """(method, answer), in the order in which such methods are asked."""
    asked: list[TinyRequest] = field(default_factory=list)

    def call(self, method: str, url: str, headers: Mapping[str, str], data: str) -> TinyAnswer:
        assert headers["Authorization"] == "Bearer token"
        parts = urlsplit(url)
        body = json.loads(data) if data else None
        self.asked.append(TinyRequest(method, parts.path, dict(parse_qsl(parts.query)), body))
        if self.next and self.next[0][0] == method:
            told = self.next.popleft()[1]
            if isinstance(told, Exception):
                raise told
            return told
        return getattr(self, f"_{method.lower()}")(parts.path, body)

    def say(self, method: str, status: int, body: Any = None, **headers: str) -> None:
        """Answer the next such request so. Headers' names with `_` for `-`."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        self.next.append((method, TinyAnswer(status, body, told)))

    def methods(self) -> list[str]:
        """Of what was asked so far; forgets it."""
        found = [each.method for each in self.asked]
        self.asked.clear()
        return found

    def _get(self, path: str, body: Any) -> TinyAnswer:
        found = self.kept.get(path)
        return TinyAnswer(200, found) if found is not None else TinyAnswer(404, _refusal("ResourceNotFound", path))

    def _put(self, path: str, body: Any) -> TinyAnswer:
        self.kept[path] = {**body, "id": path, "type": "Kind"} | (
            {} if "name" in body else {"name": path.split("/")[-1]}
        )
        return TinyAnswer(200, self.kept[path])

    _patch = _put

    def _post(self, path: str, body: Any) -> TinyAnswer:
        return TinyAnswer(200, {"posted": path.rpartition("/")[2]})

    def _delete(self, path: str, body: Any) -> TinyAnswer:
        return TinyAnswer(200 if self.kept.pop(path, None) else 404)


def _refusal(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def session(arm: TinyArm, **fields: Any) -> PluginSession:
    """A session on it, which waits next to nothing."""
    there = ManagerClient("https://localhost:1", lambda _: "token", answering(arm.call), "audience", "agent")
    return PluginSession(subscription=SUBSCRIPTION, arm=there, **fields)


def request(arm: TinyArm, token: str, name: str = "one", **fields: Any) -> PluginRequest[PluginSession]:
    """What the engine asks of a resource."""
    return PluginRequest(session(arm, **fields), f"urn:pulumi:stack::project::{token}::{name}", token, name)


def provider() -> AzureNativeProvider:
    """The stand-in; sessions come with requests."""
    return AzureNativeProvider()
