"""Azure Resource Manager in this process: what it is asked, and what a test lets it answer."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from azure.core.credentials import AccessToken

from llmops_kit.clouds.azure.arm import ARM, ResourceManager

Answer = tuple[int, Any, dict[str, str]]
"""Status, body, headers."""


class Anybody:
    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken("token", int(time.time()) + 3600)


@dataclass
class Asked:
    """A request."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    url: str


@dataclass
class Cloud:
    """Documents by path; answers by (method, path) come first, one after the other, the last one for good."""

    documents: dict[str, Any] = field(default_factory=dict)
    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def answer(self, method: str, path: str, *answers: Answer) -> None:
        """What is answered to a request."""
        self.answers[method, path] = list(answers)

    def bodies(self, method: str) -> list[Any]:
        """Of the requests of a method."""
        return [each.body for each in self.asked if each.method == method]

    def send(self, _: Any, request: requests.PreparedRequest, **__: Any) -> requests.Response:
        """In the place of the network."""
        assert request.url
        assert request.method
        parts = urlsplit(request.url)
        body = json.loads(request.body) if isinstance(request.body, (bytes, str)) else None
        self.asked.append(Asked(request.method, parts.path, dict(parse_qsl(parts.query)), body, request.url))
        status, found, headers = self._find(request.method, parts.path, body)
        response = requests.Response()
        response.status_code, response.reason, response.url = status, str(status), request.url
        response.headers.update({"Content-Type": "application/json", **headers})
        response.raw = _Raw(b"" if found is None else json.dumps(found).encode())
        return response

    def _find(self, method: str, path: str, body: Any) -> Answer:
        if planned := self.answers.get((method, path)):
            return planned.pop(0) if len(planned) > 1 else planned[0]
        if method == "PUT":
            self.documents[path] = {"id": path, "name": path.rpartition("/")[2], **body}
        if path in self.documents:
            return 200, self.documents[path], {}
        return 404, {"error": {"code": "ResourceNotFound", "message": f"{path} was not found"}}, {}


class _Raw:
    """A body, as urllib3 has one."""

    enforce_content_length = False

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.headers: dict[str, str] = {}

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        content, self._content = self._content, b""
        yield content

    def read(self, *_: Any, **__: Any) -> bytes:
        content, self._content = self._content, b""
        return content

    def close(self) -> None: ...

    def release_conn(self) -> None: ...


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    made = Cloud()
    with mock.patch("requests.adapters.HTTPAdapter.send", lambda *a, **k: made.send(*a, **k)):
        yield made


@pytest.fixture
def arm(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> ResourceManager:
    """Its client, which does not wait between two requests."""
    monkeypatch.setattr("azure.core.pipeline.transport.RequestsTransport.sleep", lambda *_: None)
    return ResourceManager(ARM, Anybody())
