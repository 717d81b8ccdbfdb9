"""aiohttp's side of the header guard: its protocol for one connection, and errors of the router's own."""

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
    """Connects an aiohttp server with a guard, which it tells when a request begins and when it was answered."""

    def __init__(self, guard: HttpGuard) -> None:
        self._guard = guard
        self._connections: Connections = {}

    def factory(self, server: web.Server, **options: Any) -> Callable[[], asyncio.BufferedProtocol]:
        """A protocol factory for `loop.create_server`; `options` are those of aiohttp's RequestHandler.

        aiohttp stops reading a body at twice its buffer's size, which is what is read at once: with a header of the
        most bytes, at most 64 kB are held of a client whose key was not checked yet.
        """
        loop = asyncio.get_running_loop()

        def handler(connection: GuardedConnection) -> GuardedHandler:
            return _Handler(
                connection, self._connections, server, loop=loop, access_log=cast(Any, None), read_bufsize=READ_BYTES,
                max_line_size=MOST_LINE_BYTES, max_field_size=MOST_LINE_BYTES, **options,
            )  # fmt: skip

        return self._guard.factory(handler)

    def begin(self, request: web.BaseRequest) -> None:
        """A request's headers are complete."""
        if connection := self._of(request):
            connection.begin()

    def end(self, request: web.BaseRequest) -> None:
        """The request was answered; the next one's headers may come, after what is missing of its content."""
        if connection := self._of(request):
            connection.end(complete=request.content.is_eof())

    def take_back(self, request: web.BaseRequest, rest: bytes) -> None:
        """Goes on reading from a connection that was handed over, after the bytes that were read meanwhile."""
        if connection := self._of(request):
            if rest:
                connection.take(rest)
            assert request.transport
            request.transport.resume_reading()

    def received(self, request: web.BaseRequest) -> int:
        """Bytes of the request so far, as they were sent."""
        connection = self._of(request)
        return connection.received if connection else 0

    def _of(self, request: web.BaseRequest) -> GuardedConnection | None:
        return self._connections.get(request.transport) if request.transport else None


def refusal(status: int, message: str, code: str, *, retry: int = 0, close: bool = False) -> web.Response:
    """An error as an answer."""
    headers = {"Retry-After": str(retry)} if retry else {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    response = web.json_response(error_body(status, message, code), status=status, headers=headers)
    if close:
        response.force_close()
    return response


def unauthorized() -> web.Response:
    """The answer to a request without the endpoint's key."""
    what = "send the endpoint's API key as `Authorization: Bearer <key>`"
    return refusal(401, what, "invalid_api_key", close=True)


class _Handler(web.RequestHandler):
    """Answers what is no HTTP without a traceback in the log: it is the client's fault, as is going away."""

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
        """Without its transport it closes nothing."""
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
        if strange:  # aiohttp repeats the header in its answer, and fails where that is no Unicode
            return refusal(417, "Expect can be 100-continue alone", "unknown_expectation", close=True)
        if isinstance(exc, web.RequestPayloadError):
            return refusal(400, "the body does not fit its headers", "invalid_body", close=True)
        if isinstance(exc, (HttpProcessingError, ConnectionError)):
            return refusal(400, "this is not an HTTP request", "invalid_http", close=True)
        return super().handle_error(request, status, exc, message)
