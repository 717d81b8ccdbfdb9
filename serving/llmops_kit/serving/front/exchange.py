"""One request and its response, as they pass through the front."""

import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.front.refusals import log_fields
from llmops_kit.serving.metrics import Metrics
from llmops_kit.serving.usage import Usage

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

CONNECTION = "llmops.connection"
"""Name of the ASGI extension through which a request finds its GuardedHttp, under the kit's own server."""
EXCHANGE = "llmops.exchange"
"""Key in a request's scope of its HttpExchange, in which the engine's app counts the request's tokens."""
_STREAM = b"text/event-stream"
WAITING = b": waiting\n\n"
"""A comment of server-sent events, which shows clients and proxies that a stream is alive."""


class ClientGoneError(Exception):
    """The client closed the connection before the answer was complete."""


class HttpExchange:
    """Sends a response with the common headers, and tracks its progress."""

    def __init__(self, scope: Scope, send: Send, metrics: Metrics) -> None:
        self.scope = scope
        self.id = uuid4().hex
        self.started = time.perf_counter()
        self.usage = Usage(metrics, self.started)
        """The request's tokens, which the engine's app counts."""
        self.status = 499  # until something was answered: the client went away
        self.complete = False
        self.route = "unknown"
        self.caller = ""
        """Name of the caller's key."""
        self.more_places: Callable[..., AbstractContextManager[None]] = lambda *_: nullcontext()
        """Takes this many more places in the batch, for a request that asks for several answers by a parameter."""
        self.stream_began: Callable[[], None] = lambda: None
        """Called once an answer turns out to be a stream."""
        self.fields: dict[str, Any] = {}
        """Fields of the log line, in addition to the usage."""
        self._send = send
        self._begun = False
        self._streams = False
        self._waited = False  # the front began the stream, before the app did
        self._error: tuple[int, bytearray] | None = None  # an error of the app's, too late for its own status
        self.headers: dict[bytes, bytes] = dict(scope["headers"])

    def header(self, name: bytes) -> str:
        """Returns a header of the request; empty if it is missing."""
        return self.headers.get(name, b"").decode("latin-1")

    def note(self, **fields: Any) -> None:
        """Adds fields to the log line."""
        self.fields |= fields

    @property
    def app_began(self) -> bool:
        """Whether the engine's app has begun its response."""
        return self._begun and not (self._waited and not self._streams)

    # -- messages of the app

    async def send(self, message: Message) -> None:
        """Sends a message of the engine's app: its ASGI send."""
        if message["type"] == "http.response.body":
            if self._error is None and message.get("more_body"):
                await self._send(message)  # every token takes this path: keep it short
            else:
                await self._body(message)
        elif message["type"] == "http.response.start":
            await self._start(message["status"], list(message.get("headers", ())))
        else:
            await self._send(message)

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        streams = any(name.lower() == b"content-type" and value.startswith(_STREAM) for name, value in headers)
        if self._waited:
            self._streams = streams
            if not streams:
                self._error = status, bytearray()
            return
        self._begun, self._streams = True, streams
        if streams:
            self.stream_began()
        await self._send({"type": "http.response.start", "status": status, "headers": self._with_own(headers)})

    async def _body(self, message: Message) -> None:
        if self._error:
            self._error[1].extend(message.get("body", b""))
            if message.get("more_body"):
                return
            message = {"type": "http.response.body", "body": b"data: " + bytes(self._error[1]) + b"\n\n"}
        await self._send(message)
        if not message.get("more_body"):
            self.complete = True

    def _with_own(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        given = {name.lower() for name, _ in headers}
        own = [(b"x-request-id", self.id.encode()), (b"x-content-type-options", b"nosniff")]
        if b"server" not in given:
            own.append((b"server", b"llmops"))
        if b"cache-control" not in given:
            own.append((b"cache-control", b"no-store"))
        if self.status == HTTPStatus.EXPECTATION_FAILED or not self._request_complete():
            own.append((b"connection", b"close"))  # because the rest of the request is not read
        return [*own, *((n, v) for n, v in headers if n.lower() != b"x-request-id")]

    def _request_complete(self) -> bool:
        connection = self.scope.get("extensions", {}).get(CONNECTION)
        return connection is None or connection.complete

    # -- answers of the front

    async def answer(
        self, status: int, body: bytes, kind: str, headers: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        """Sends a whole response."""
        given = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body)), *(headers or ())]
        await self._start(status, given)
        await self._body({"type": "http.response.body", "body": body})

    async def answer_json(self, status: int, value: Any, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        """Sends a whole response in JSON."""
        await self.answer(status, json.dumps(value).encode(), "application/json; charset=utf-8", headers)

    async def fail(self, error: ApiError) -> None:
        """Reports an error: in the log line, and as a response or as the last frame of a stream that has begun."""
        self.note(**log_fields(error))
        if not self._begun:
            headers = [(b"retry-after", b"%d" % error.retry_after)] if error.retry_after else []
            if error.allow:
                headers.append((b"allow", error.allow.encode()))
            if error.status == HTTPStatus.UNAUTHORIZED:
                headers.append((b"www-authenticate", b"Bearer"))
            await self.answer_json(error.status, error.body, headers)
        elif (self._streams or self._waited) and not self.complete:
            self._error = None
            await self._body({"type": "http.response.body", "body": error.frame()})
        self.status = error.status

    async def say_waiting(self) -> None:
        """Sends a keep-alive comment to a client whose stream has not begun."""
        if not self._begun:
            self._begun = self._waited = True
            self.stream_began()
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
            await self._send({"type": "http.response.start", "status": 200, "headers": self._with_own(headers)})
        await self._send({"type": "http.response.body", "body": WAITING, "more_body": True})
