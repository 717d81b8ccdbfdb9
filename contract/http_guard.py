"""What clients of an HTTP server can hold before anybody knows them: connections, and headers by time and size.

aiohttp has no such limits: it waits for headers as long as for the next request, takes any number of connections, and
answers a large header with 400 and a traceback in the log. The router and the server stand behind this guard. It needs
aiohttp, which every image that serves has.
"""

import asyncio
import ipaddress
import json
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

from aiohttp import StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from contract.connections import ConnectionLimits

READ_BYTES = 1 << 14
"""Read from a connection at once. aiohttp stops reading a body at twice its buffer's size, which is this too: with a
header of the most bytes, at most 64 kB are held of a client whose key was not checked yet."""
MOST_HEAD_BYTES = 1 << 14
"""Of a request's line and headers together: as many as Node.js takes."""
_MOST_HEADERS = 100
_MOST_LINE_BYTES = 8190  # of the request's line: aiohttp's own default
_MOST_HEADER_BYTES = 8191  # of one header; differs from the line's, so that aiohttp's error tells which it was
_FAREWELL_SECONDS = 1.0
_MOST_FAREWELLS = 256
_OTHER_FILES = 512  # a process's own, and connections that are told that there are too many


@dataclass
class HttpGuard:
    """Makes the protocols of an aiohttp server; the server tells it when a request begins and when it was answered."""

    limits: ConnectionLimits
    _connections: "dict[asyncio.BaseTransport, _GuardedConnection]" = field(default_factory=dict)
    _addresses: Counter[str] = field(default_factory=Counter)
    _farewells: int = 0
    # One for all: a connection's bytes are taken out of it before another one's are read.
    _buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(READ_BYTES)))

    def factory(self, server: web.Server, **options: Any) -> Callable[[], asyncio.BufferedProtocol]:
        """A protocol factory for `loop.create_server`; `options` are those of aiohttp's RequestHandler."""
        loop = asyncio.get_running_loop()

        def handler() -> web.RequestHandler:
            return _Handler(
                server, loop=loop, access_log=cast(Any, None), read_bufsize=READ_BYTES, max_line_size=_MOST_LINE_BYTES,
                max_field_size=_MOST_HEADER_BYTES, **options,
            )  # fmt: skip

        return lambda: _GuardedConnection(self, handler)

    def begin(self, transport: asyncio.BaseTransport | None) -> None:
        """A request's headers are complete."""
        if transport and (connection := self._connections.get(transport)):
            connection.begin()

    def end(self, transport: asyncio.BaseTransport | None, content: StreamReader) -> None:
        """The request was answered; the next one's headers may come, after what is missing of its content."""
        if transport and (connection := self._connections.get(transport)):
            connection.end(content.is_eof())

    def received(self, transport: asyncio.BaseTransport | None) -> int:
        """Bytes of the request so far, as they were sent: many more than its body has, if that is in tiny chunks."""
        connection = self._connections.get(transport) if transport else None
        return connection.received if connection else 0


def allowed_connections(wanted: int, files_each: int = 1) -> int:
    """Raise the process's limit of open files for so many connections; how many it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted * files_each + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < files:
        soft = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return min(wanted, max(1, (soft - _OTHER_FILES) // files_each))
    return wanted


def refusal(status: int, body: dict[str, Any], *, retry: int = 0, close: bool = False) -> web.Response:
    """An `error_body` as an answer."""
    headers = {"Retry-After": str(retry)} if retry else {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    response = web.json_response(body, status=status, headers=headers)
    if close:
        response.force_close()
    return response


def error_body(message: str, kind: str, code: str = "", param: str = "") -> dict[str, Any]:
    """An error in the form of OpenAI's API, which clients of every contract get."""
    return {"error": {"message": message, "type": kind, "param": param or None, "code": code or None}}


class _Handler(web.RequestHandler):
    """Answers what is no HTTP without a traceback in the log: it is the client's fault, as is going away."""

    __slots__ = ()

    def log_exception(self, *args: Any, **options: Any) -> None:
        if not isinstance(options.get("exc_info"), web.RequestPayloadError):  # of a body that nobody waits for
            super().log_exception(*args, **options)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        strange = isinstance(exc, UnicodeEncodeError) and hdrs.EXPECT in request.headers
        if not strange and not isinstance(exc, (HttpProcessingError, web.RequestPayloadError, ConnectionError)):
            return super().handle_error(request, status, exc, message)
        if strange:  # aiohttp repeats the header in its answer, and fails where that is no Unicode
            status, what, code = 417, "Expect can be 100-continue alone", "unknown_expectation"
        elif isinstance(exc, web.RequestPayloadError):
            status, what, code = 400, "the body does not fit its headers", "invalid_body"
        elif not isinstance(exc, LineTooLong):
            status, what, code = 400, "this is no HTTP request", "invalid_http"
        elif exc.args[1] == _MOST_LINE_BYTES:
            status, what, code = 414, f"a path has at most {_MOST_LINE_BYTES} bytes", "path_too_long"
        else:
            status, what, code = 431, f"a header has at most {_MOST_HEADER_BYTES} bytes", "header_too_large"
        return refusal(status, error_body(what, "invalid_request_error", code), close=True)


class _GuardedConnection(asyncio.BufferedProtocol):
    """Passes everything on to aiohttp's protocol, which it makes once the connection is taken."""

    def __init__(self, guard: HttpGuard, handler: Callable[[], web.RequestHandler]) -> None:
        self._guard = guard
        self._make_handler = handler
        self._handler: web.RequestHandler | None = None
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._address = ""
        self._refused = False
        self._reset()

    def _reset(self) -> None:
        self._waiting = True  # whether the next bytes are headers
        self._head = _Head()
        self.received = 0

    # -- what the server says

    def begin(self) -> None:
        self._waiting = False
        self._stop_timer()

    def end(self, complete: bool) -> None:
        self._reset()
        if not complete:
            self._waiting = False  # what comes is not headers yet, and aiohttp reads it for a moment
            self._start_timer(self._guard.limits.header_seconds)

    # -- what asyncio says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        guard, self._transport = self._guard, transport
        self._address = _client(transport.get_extra_info("peername"))
        guard._addresses[self._address] += 1
        guard._connections[transport] = self
        if len(guard._connections) - guard._farewells > guard.limits.connections:
            self._refuse(503, "the server has too many connections; try again", code="too_many_connections")
        elif guard._addresses[self._address] > guard.limits.connections_per_address:
            self._refuse(429, "your address has too many connections; try again", code="too_many_connections")
        else:
            self._handler = self._make_handler()
            self._start_timer(guard.limits.header_seconds)
            self._handler.connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._guard._buffer[:sizehint] if sizehint > 0 else self._guard._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._refused or not self._handler:
            return
        data = bytes(self._guard._buffer[:nbytes])
        if self._waiting:
            if not self._timer:
                self._start_timer(self._guard.limits.header_seconds)
            if not self._head.take(data):
                what = f"a request has at most {_MOST_HEADERS} headers, {MOST_HEAD_BYTES} bytes together"
                self._refuse(431, what, code="header_too_large")
                return
        self.received += nbytes
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received() if self._handler and not self._refused else None

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        guard = self._guard
        guard._connections.pop(self._transport, None)
        guard._farewells -= self._refused
        guard._addresses[self._address] -= 1
        if not guard._addresses[self._address]:
            del guard._addresses[self._address]
        if self._handler:
            self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._handler:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        if self._handler:
            self._handler.resume_writing()

    # -- limits

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answer, and give the client a moment to read it: closed at once, its unread bytes would reset the answer."""
        self._stop_timer()
        self._refused = True
        self._guard._farewells += 1
        if handler := self._handler:
            # It may be about to answer what it has of this request: to it, the client is gone. Without its transport it
            # closes nothing.
            self._handler, handler.transport = None, None
            handler.connection_lost(None)
        body = json.dumps(error_body(message, "invalid_request_error" if status == 431 else "rate_limit_error", code))
        retry = "" if status == 431 else "Retry-After: 1\r\n"
        self._transport.write(
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{retry}Connection: close\r\n\r\n{body}".encode()
        )
        if self._guard._farewells > _MOST_FAREWELLS:
            self._transport.abort()
            return
        self._transport.write_eof()
        self._start_timer(_FAREWELL_SECONDS)

    def _start_timer(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


class _Head:
    """Counts a request's line and headers as they come, until the empty line after them."""

    __slots__ = ("_bytes", "_complete", "_end", "_lines")

    def __init__(self) -> None:
        self._bytes = self._lines = 0
        self._end = b""
        self._complete = False

    def take(self, data: bytes) -> bool:
        """Whether it is within the limits with these bytes too."""
        if self._complete:
            return True
        if not self._lines and not self._end.strip(b"\r\n"):
            data = data.lstrip(b"\r\n")  # empty lines before a request are skipped (RFC 9112, 2.2)
        before = len(self._end)
        joined = self._end + data
        found = joined.find(b"\r\n\r\n")
        self._complete = found >= 0
        part = data[: found + 4 - before] if self._complete else data
        self._bytes += len(part)
        self._lines += part.count(b"\n")
        self._end = joined[-3:]
        return self._bytes <= MOST_HEAD_BYTES and self._lines <= _MOST_HEADERS + 2


def _client(peer: Any) -> str:
    """Whose connection it is: an IPv4 address, or the first 64 bits of an IPv6 address."""
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0])
    except (TypeError, ValueError, IndexError):
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)
