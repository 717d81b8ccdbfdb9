"""Limits on unauthenticated clients of an HTTP server: connections, time and size of headers, and unread answers.

Neither aiohttp nor uvicorn has such limits. Both wait for headers as long as for the next request, and indefinitely for
a client to read; httptools accepts headers of any size. The router and the server both use this guard, each with the
protocol of its HTTP library.
"""

import asyncio
import ipaddress
import json
import resource
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

from llmops_kit.core.network.connections import ConnectionLimits

READ_BYTES = 1 << 14
"""Read from a connection at once."""
MOST_HEAD_BYTES = 1 << 14
"""Of a request's line and headers together: as many as Node.js takes."""
_MOST_HEADERS = 100
MOST_LINE_BYTES = 8190
"""Of the request's line, as of each header's."""
_FAREWELL_SECONDS = 1.0
_LINGER_SECONDS = 2.0
_MOST_FAREWELLS = 256
_OTHER_FILES = 512  # a process's own, and connections that are told that there are too many


class GuardedHandler(Protocol):
    """An HTTP library's protocol for one connection, as asyncio drives it."""

    def connection_made(self, transport: Any) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...

    def give_up(self) -> None:
        """Cancel running requests as if the client had disconnected, without closing the connection."""
        ...


@dataclass
class HttpGuard:
    """Creates the protocols of a server. The HTTP library's protocol tells its connection when requests begin and
    end.
    """

    limits: ConnectionLimits
    _connections: "set[GuardedConnection]" = field(default_factory=set)
    _addresses: Counter[str] = field(default_factory=Counter)
    _farewells: int = 0
    # Shared by all connections: bytes are copied out of it before another connection is read.
    _buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(READ_BYTES)))

    @property
    def unsent(self) -> int:
        """Connections with bytes of an answer that the client has not taken yet."""
        return sum(1 for connection in self._connections if connection.unsent)

    def factory(
        self, make_handler: "Callable[[GuardedConnection], GuardedHandler]"
    ) -> Callable[[], asyncio.BufferedProtocol]:
        """Returns a protocol factory for `loop.create_server`."""
        return lambda: GuardedConnection(self, make_handler)


def allowed_connections(wanted: int, files_each: int = 1) -> int:
    """Raises the process's limit of open files for the wanted connections; returns how many it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted * files_each + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < files:
        soft = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return min(wanted, max(1, (soft - _OTHER_FILES) // files_each))
    return wanted


def error_body(status: int, message: str, code: str = "", param: str = "") -> dict[str, Any]:
    """Returns an error in the form of OpenAI's API, for clients of every contract; the status decides its type."""
    return {"error": {"message": message, "type": _kind(status), "param": param or None, "code": code or None}}


def _kind(status: int) -> str:
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")


class GuardedConnection(asyncio.BufferedProtocol):
    """Passes events on to the library's protocol, which it creates once the connection is accepted."""

    def __init__(self, guard: HttpGuard, make_handler: "Callable[[GuardedConnection], GuardedHandler]") -> None:
        self._guard = guard
        self._make_handler = make_handler
        self._handler: GuardedHandler | None = None
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._address = ""
        self._ending = False  # received bytes are discarded
        self._farewell = False
        self._reset()

    def _reset(self) -> None:
        self._waiting = True  # whether the next bytes are headers
        self._head = _Head()
        self.received = 0
        """Bytes of the request received so far: many more than its body has, if that is sent in tiny chunks."""

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self._transport.get_write_buffer_size()

    # -- called by the library's protocol

    def begin(self) -> None:
        """Called when a request's headers are complete."""
        self._waiting = False
        self._stop_timer()

    def end(self, *, complete: bool) -> None:
        """Called when a request is over; the next one's headers may follow, after the rest of its content."""
        self._reset()
        if not complete:
            self._waiting = False  # the next bytes are not headers yet, and the library reads them for a moment
            self._start_timer(self._guard.limits.header_seconds)

    def linger(self) -> None:
        """Closes after a last answer to a client that is still sending: closing at once would reset the connection
        before the client has read the answer.
        """
        self._stop_timer()
        self._ending = True
        self._transport.write_eof()
        self._start_timer(_LINGER_SECONDS)

    # -- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        guard, self._transport = self._guard, transport
        self._address = _client(transport.get_extra_info("peername"))
        guard._addresses[self._address] += 1
        guard._connections.add(self)
        if len(guard._connections) - guard._farewells > guard.limits.connections:
            self._refuse(503, "the server has too many connections; try again", code="too_many_connections")
        elif guard._addresses[self._address] > guard.limits.connections_per_address:
            self._refuse(429, "your address has too many connections; try again", code="too_many_connections")
        else:
            self._handler = self._make_handler(self)
            self._start_timer(guard.limits.header_seconds)
            self._handler.connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._guard._buffer[:sizehint] if sizehint > 0 else self._guard._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self._ending:
            self.take(bytes(self._guard._buffer[:nbytes]))

    def take(self, data: bytes) -> None:
        """Passes on bytes that the client has sent."""
        if self._ending or not self._handler:
            return
        if self._waiting:
            if not self._timer:
                self._start_timer(self._guard.limits.header_seconds)
            if too_much := self._head.take(data):
                self._refuse(*too_much)
                return
        self.received += len(data)
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received() if self._handler and not self._ending else None

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_write_timer()
        guard = self._guard
        guard._connections.discard(self)
        guard._farewells -= self._farewell
        guard._addresses[self._address] -= 1
        if not guard._addresses[self._address]:
            del guard._addresses[self._address]
        if self._handler:
            self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        """Called when the client reads too slowly; resets the connection unless it continues in time."""
        loop = asyncio.get_running_loop()
        self._write_timer = loop.call_later(self._guard.limits.write_seconds, self._reset_connection)
        if self._handler:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._stop_write_timer()
        if self._handler:
            self._handler.resume_writing()

    # -- limits

    def refuse_http(self) -> None:
        """Answers bytes that the library can't parse."""
        self._refuse(400, "this is not an HTTP request", code="invalid_http")

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answers, and gives the client a moment to read: closing at once would reset the connection before it has."""
        self._stop_timer()
        self._ending = self._farewell = True
        self._guard._farewells += 1
        if handler := self._handler:
            self._handler = None  # it may be about to answer this request itself
            handler.give_up()
        body = json.dumps(error_body(status, message, code))
        retry = "Retry-After: 1\r\n" if status in (429, 503) else ""
        self._transport.write(
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{retry}Connection: close\r\n\r\n{body}".encode()
        )
        if self._guard._farewells > _MOST_FAREWELLS:
            self._transport.abort()
            return
        self._transport.write_eof()
        self._start_timer(_FAREWELL_SECONDS)

    def _reset_connection(self) -> None:
        """Closes so that the kernel discards its buffers too: it would keep them for a client that doesn't read."""
        with self._transport.get_extra_info("socket").dup() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer:
            self._write_timer.cancel()
            self._write_timer = None


_Refusal = tuple[int, str, str]


class _Head:
    """Counts a request's line and headers as they come, until the empty line after them."""

    __slots__ = ("_bytes", "_complete", "_end", "_line", "_lines")

    def __init__(self) -> None:
        self._bytes = self._lines = 0
        self._line = 0  # bytes so far of the line that is not complete
        self._end = b""
        self._complete = False

    def take(self, data: bytes) -> _Refusal | None:
        """Adds bytes; returns None while the headers are within the limits, else the error."""
        if self._complete:
            return None
        if not self._lines and not self._end.strip(b"\r\n"):
            data = data.lstrip(b"\r\n")  # empty lines before a request are skipped (RFC 9112, 2.2)
        before = len(self._end)
        joined = self._end + data
        found = joined.find(b"\r\n\r\n")
        self._complete = found >= 0
        part = data[: found + 4 - before] if self._complete else data
        self._bytes += len(part)
        self._end = joined[-3:]
        return self._too_long(part) or self._too_many()

    def _too_long(self, part: bytes) -> _Refusal | None:
        first, *others = part.split(b"\n")
        lengths = [self._line + len(first), *map(len, others)]
        for number, length in enumerate(lengths, self._lines):
            if length > MOST_LINE_BYTES:
                if number == 0:
                    return 414, f"a path has at most {MOST_LINE_BYTES} bytes", "path_too_long"
                return 431, f"a header has at most {MOST_LINE_BYTES} bytes", "header_too_large"
        self._lines += len(others)
        self._line = lengths[-1]
        return None

    def _too_many(self) -> _Refusal | None:
        if self._bytes <= MOST_HEAD_BYTES and self._lines <= _MOST_HEADERS + 2:
            return None
        what = f"a request has at most {_MOST_HEADERS} headers, {MOST_HEAD_BYTES} bytes together"
        return 431, what, "header_too_large"


def _client(peer: Any) -> str:
    """Returns the address that a connection is counted for: of IPv4, or the first 64 bits of one of IPv6."""
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0])
    except (TypeError, ValueError, IndexError):
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)
