"""Takes clients' connections from the router (core/network/handover.py), and answers one request on each."""

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from llmops_kit.core.network.handover import HandoverError, Messages, encode
from llmops_kit.core.network.http_guard import GuardedConnection, HttpGuard
from llmops_kit.core.network.unix_sockets import listen
from llmops_kit.serving.front.protocol import GuardedHttp
from llmops_kit.serving.log import say

_CHUNK = 1 << 16
_MOST_REST = 1 << 16
"""Bytes after the request beyond which a connection is no longer read; the router gets them back."""


class HandOver:
    """A server behind a unix socket, with the HTTP server's app, guard and protocol."""

    def __init__(self, guard: HttpGuard, server: uvicorn.Server) -> None:
        self._guard = guard
        self._server = server
        self._accepting: asyncio.Task[None] | None = None
        self._answers: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        """Connections that were not returned to the router yet."""
        return len(self._answers)

    def open(self, path: Path) -> None:
        """Accepts connections until `close`.

        Raises:
            KitError: the socket can't be created, or other users may enter its folder.
        """
        self._accepting = asyncio.create_task(self._accept(listen(path)))

    def close(self) -> None:
        """Stops accepting connections; waiting ones are refused."""
        if self._accepting:
            self._accepting.cancel()

    async def drain(self, seconds: float) -> None:
        """Stops accepting connections, and waits until the running answers have ended, at most `seconds`."""
        self.close()
        if self._answers:
            await asyncio.wait(self._answers, timeout=seconds)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                try:
                    router, _ = await loop.sock_accept(listener)
                except OSError as e:  # no file descriptors are left
                    say(f"hand-over: {e.strerror}")
                    await asyncio.sleep(1)
                    continue
                task = loop.create_task(self._answer(router))
                self._answers.add(task)
                task.add_done_callback(self._answers.discard)

    async def _answer(self, router: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with router:
            try:
                head, request, client = await _receive(router)
            except OSError:  # the router ended, or only checked that this socket is served
                return
            except HandoverError as e:
                say(f"hand-over: {e}")
                return
            headers = [(name.encode(), value.encode()) for name, value in head["headers"].items()]
            connection = _HandedConnection(self._guard, self._server, router, headers, request)
            try:
                await loop.connect_accepted_socket(lambda: connection, client)
                kept, rest = await connection.ended
            except OSError:  # the client left before
                client.close()
                kept, rest = False, b""
            with suppress(OSError):  # the router ended before its client: the answer is complete anyway
                await loop.sock_sendall(router, encode({"kept": kept}, rest))


async def _receive(router: socket.socket) -> tuple[dict[str, Any], bytes, socket.socket]:
    """Returns the head of the router's message, the request, and the client's socket.

    Raises:
        HandoverError: the message does not hand over a connection.
        OSError: the router ended.
    """
    messages, client = Messages(), None
    try:
        while True:
            try:
                data, files, _, _ = socket.recv_fds(router, _CHUNK, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                await _readable(router)
                continue
            if files:
                client, before = socket.socket(fileno=files[0]), client
                if before:
                    before.close()
                    raise HandoverError("more than one connection in a message")
            if not data:
                raise ConnectionResetError("the router ended before its message")
            if complete := messages.feed(data):
                break
        head, request = complete[0]
        if client is None or client.family == socket.AF_UNIX or not isinstance(head.get("headers"), dict):
            raise HandoverError("a message without a connection, or without headers")
        client.setblocking(False)
        return head, request, client
    except BaseException:
        if client:
            client.close()
        raise


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(sock)


class _HandedConnection(asyncio.Protocol):
    """A client's connection for one request, whose bytes the router has read. Closing it here does not disconnect the
    client before the router closes it too.
    """

    def __init__(
        self,
        guard: HttpGuard,
        server: uvicorn.Server,
        router: socket.socket,
        headers: list[tuple[bytes, bytes]],
        request: bytes,
    ) -> None:
        config, state = server.config, server.server_state
        self._http: _HandedHttp | None = None
        self._router = router
        self._headers = headers
        self._request = request
        self._rest = bytearray()
        self._guarded = GuardedConnection(guard, lambda guarded: self._make_http(guarded, config, state))
        self.ended: asyncio.Future[tuple[bool, bytes]] = asyncio.get_running_loop().create_future()
        """Whether the connection can take another request, and the bytes that the client has sent after this one."""
        self.resume_writing = self._guarded.resume_writing
        self.pause_writing = self._guarded.pause_writing
        self.eof_received = self._guarded.eof_received

    def _make_http(self, guarded: GuardedConnection, config: uvicorn.Config, state: ServerState) -> "_HandedHttp":
        self._http = _HandedHttp(guarded, config, state)
        self._http.own_headers = self._headers
        self._http.tell_router = self._tell
        return self._http

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._guarded.connection_made(transport)
        self._guarded.take(self._request)
        self._request = b""

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) >= _MOST_REST and not self._transport.is_closing():
            self._transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue]

    def connection_lost(self, exc: Exception | None) -> None:
        self._guarded.connection_lost(exc)
        kept = exc is None and self._http is not None and self._http.reusable
        if not self.ended.done():
            self.ended.set_result((kept, bytes(self._rest)))

    def _tell(self, status: int) -> None:
        with suppress(OSError):  # the router ended: the status is not needed
            self._router.send(encode({"status": status}))


class _HandedHttp(GuardedHttp):
    """uvicorn's protocol for one request: the connection ends with its answer."""

    def tell_router(self, status: int) -> None:
        """Called with an answer's status before its first byte is sent."""

    def begin_answer(self, head: bytes) -> None:
        self.tell_router(int(head[9:12]))

    @property
    def reusable(self) -> bool:
        """Whether the answer is complete, and the connection can take another request."""
        return bool(self.cycle and self.cycle.response_complete and self.cycle.keep_alive)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self.transport.close()
