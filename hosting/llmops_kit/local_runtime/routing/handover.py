"""Hands a client's connection over to a backend, which answers on it, and takes it back (core/network/handover.py)."""

import asyncio
import socket
import time
from pathlib import Path

from aiohttp import HttpVersion11, hdrs, web

from llmops_kit.core.network.handover import HandoverError, Messages, encode
from llmops_kit.core.network.unix_sockets import connect
from llmops_kit.local_runtime.routing.balance import Backend
from llmops_kit.local_runtime.routing.forwarding import VARIANT_HEADER, LongBody, NotAnsweredError, not_forwarded

_CHUNK = 1 << 16


class WrittenResponse(web.StreamResponse):
    """A response whose bytes the client has already. `rest`: bytes that the client has sent after the request."""

    def __init__(self, *, kept: bool, rest: bytes = b"") -> None:
        super().__init__()
        self._kept = kept
        self.rest = rest

    @property
    def keep_alive(self) -> bool:
        """Whether the client's connection stays open for another request."""
        return self._kept

    async def prepare(self, request: web.BaseRequest) -> None:
        """Sends nothing."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Sends nothing."""


def offered(path: str) -> bool:
    """Returns whether a server takes connections on this socket."""
    try:
        connect(Path(path)).close()
    except OSError:
        return False
    return True


def connected(request: web.BaseRequest, body: bytes | LongBody, backend: Backend) -> tuple[socket.socket, bytes] | None:
    """Returns a connection to a backend's unix socket, and the message that hands the request over; None if this
    request must be relayed.

    Raises:
        NotAnsweredError: the backend refuses connections.
    """
    transport = request.transport
    if (
        not backend.takes_connections
        or isinstance(body, LongBody)
        or request.version != HttpVersion11  # for others the end of the connection ends the answer
        or transport is None
        or transport.is_closing()
        or transport.get_write_buffer_size()  # of the previous answer
    ):
        return None
    # Encode it before connecting, because that wakes the worker, which would wait for the message.
    message = encode({"headers": {VARIANT_HEADER.lower(): backend.variant}}, _as_bytes(request, body))
    try:
        return connect(Path(backend.socket)), message
    except BlockingIOError:  # too many wait there
        return None
    except OSError as e:
        raise NotAnsweredError(f"connection refused: {e.strerror}", sent=False, down=True) from e


async def answer(
    request: web.BaseRequest, message: bytes, backend: Backend, worker: socket.socket, start: float
) -> "WrittenResponse | None":
    """Returns the backend's answer, which the client has received; None if it was cut.

    Nothing is read from the client's connection until GuardedRequests.take_back.

    Args:
        request: the client's.
        message: the message that hands it over.
        backend: takes the connection.
        worker: the connection to its unix socket.
        start: when the request was sent, on the monotonic clock.

    Raises:
        NotAnsweredError: the backend sent no byte.
    """
    transport = request.transport
    assert transport
    reading = transport.is_reading()
    transport.pause_reading()
    try:
        try:
            sent = socket.send_fds(worker, [message], [transport.get_extra_info("socket").fileno()])
            if sent < len(message):
                await asyncio.get_running_loop().sock_sendall(worker, memoryview(message)[sent:])
        except OSError as e:
            raise NotAnsweredError(f"{type(e).__name__} before an answer", sent=True) from e
        return await _follow(worker, backend, start)
    except NotAnsweredError:
        if reading:
            transport.resume_reading()
        raise


def _as_bytes(request: web.BaseRequest, body: bytes) -> bytes:
    """Returns a request as bytes to forward: with its path and headers, and its body in one piece."""
    left_out = not_forwarded(request.headers) | {"expect", "content-length"}
    lines = [f"{request.method} {request.raw_path} HTTP/1.1".encode("utf-8", "surrogateescape")]
    lines += [b"%s: %s" % (n, v) for n, v in request.raw_headers if n.decode("latin-1").lower() not in left_out]
    if body or hdrs.CONTENT_LENGTH in request.headers:
        lines.append(b"Content-Length: %d" % len(body))
    if not request.keep_alive:
        lines.append(b"Connection: close")
    return b"\r\n".join([*lines, b"", body])


async def _follow(worker: socket.socket, backend: Backend, start: float) -> "WrittenResponse | None":
    """Returns the answer once the worker has sent all of it; None if the worker ended before."""
    loop = asyncio.get_running_loop()
    messages, begun = Messages(), False
    while True:
        try:
            data = await loop.sock_recv(worker, _CHUNK)
            complete = messages.feed(data)
        except (HandoverError, OSError):
            data, complete = b"", []
        for head, content in complete:
            if "kept" in head:
                return WrittenResponse(kept=head["kept"] is True, rest=content)
            begun = True
            backend.count_first_byte(time.monotonic() - start)
            backend.errors += head["status"] >= 500
        if not data and begun:
            print(f"{backend.url}: an answer was cut: its worker ended", flush=True)
            return None
        if not data:
            raise NotAnsweredError("its worker ended before an answer", sent=True)
