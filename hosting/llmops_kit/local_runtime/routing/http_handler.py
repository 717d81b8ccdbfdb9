"""Connects aiohttp with the HTTP guard: its protocol for one connection, and the router's own errors."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from llmops_kit.core.network.http_guard import (
    MOST_LINE_BYTES,
    READ_BYTES,
    GuardedConnection,
    GuardedHandler,
    HttpGuard,
    error_body,
)

Connections = dict[asyncio.BaseTransport, GuardedConnection]


class GuardedRequests:
    """Connects an aiohttp server with a guard, and tells it when a request begins and when it was answered."""

    def __init__(self, guard: HttpGuard) -> None:
        self._guard = guard
        self._connections: Connections = {}

    def factory(self, server: web.Server, **options: Any) -> Callable[[], asyncio.BufferedProtocol]:
        """Returns a protocol factory for `loop.create_server`; `options` are those of aiohttp's RequestHandler.

        aiohttp stops reading a body at twice `read_bufsize`, which equals the size of one read: with the longest
        headers, at most 64 kB are held for a client whose key was not checked yet.
        """
        loop = asyncio.get_running_loop()

        def handler(connection: GuardedConnection) -> GuardedHandler:
            return _Handler(
                connection, self._connections, server, loop=loop, access_log=cast(Any, None), read_bufsize=READ_BYTES,
                max_line_size=MOST_LINE_BYTES, max_field_size=MOST_LINE_BYTES, **options,
            )  # fmt: skip

        return self._guard.factory(handler)

    def begin(self, request: web.BaseRequest) -> None:
        """Tells the guard that a request's headers are complete."""
        if connection := self._of(request):
            connection.begin()

    def end(self, request: web.BaseRequest) -> None:
        """Tells the guard that a request was answered; the next one's headers may follow, after the rest of its
        content.
        """
        if connection := self._of(request):
            connection.end(complete=request.content.is_eof())

    def take_back(self, request: web.BaseRequest, rest: bytes) -> None:
        """Resumes reading from a connection that was handed over, after `rest`, which the worker read."""
        if connection := self._of(request):
            if rest:
                connection.take(rest)
            assert request.transport
            request.transport.resume_reading()

    def received(self, request: web.BaseRequest) -> int:
        """Returns the bytes of the request received so far, with the frames of chunks."""
        connection = self._of(request)
        return connection.received if connection else 0

    def _of(self, request: web.BaseRequest) -> GuardedConnection | None:
        return self._connections.get(request.transport) if request.transport else None


def refusal(status: int, message: str, code: str, *, retry: int = 0, close: bool = False) -> web.Response:
    """Returns an error as an answer."""
    headers = {"Retry-After": str(retry)} if retry else {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    response = web.json_response(error_body(status, message, code), status=status, headers=headers)
    if close:
        response.force_close()
    return response


def unauthorized() -> web.Response:
    """Returns the answer to a request without a valid key of the endpoint."""
    what = "send a valid API key of the endpoint as `Authorization: Bearer <key>`"
    return refusal(401, what, "invalid_api_key", close=True)


class _Handler(web.RequestHandler):
    """Answers invalid HTTP without a traceback in the log: it is the client's fault, as are disconnects."""

    __slots__ = ("_guarded", "_registry")

    def __init__(self, guarded: GuardedConnection, registry: Connections, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._guarded, self._registry = guarded, registry

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._registry[transport] = self._guarded
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.transport:
            self._registry.pop(self.transport, None)
        super().connection_lost(exc)

    def give_up(self) -> None:
        """Cancels running requests; without its transport, aiohttp closes no connection."""
        if self.transport:
            self._registry.pop(self.transport, None)
        self.transport = None
        super().connection_lost(None)

    def log_exception(self, *args: Any, **options: Any) -> None:
        if not isinstance(options.get("exc_info"), web.RequestPayloadError):  # of a body that is no longer awaited
            super().log_exception(*args, **options)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        strange = isinstance(exc, UnicodeEncodeError) and hdrs.EXPECT in request.headers
        if strange:  # aiohttp repeats the header in its answer, and fails if it is not Unicode
            return refusal(417, "Expect can be 100-continue alone", "unknown_expectation", close=True)
        if isinstance(exc, web.RequestPayloadError):
            return refusal(400, "the body does not fit its headers", "invalid_body", close=True)
        if isinstance(exc, (HttpProcessingError, ConnectionError)):
            return refusal(400, "this is not an HTTP request", "invalid_http", close=True)
        return super().handle_error(request, status, exc, message)
