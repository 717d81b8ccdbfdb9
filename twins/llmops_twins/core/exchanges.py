"""Requests to the containers of endpoints, over persistent connections that end with the time limit or the client.

Reading blocks; one thread watches all exchanges, and closes the connection when the time limit is reached or the client
has disconnected, so that the container notices at once.
"""

import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import IO, Any, Literal, Protocol

_PIECE_BYTES = 1 << 16
_IDLE = 32  # idle connections kept per container
_SWEEP_SECONDS = 10.0
_TICK_SECONDS = 0.5  # a time limit is noticed at most this late
_LEFT = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
Reason = Literal["lost", "late", "left"]


class Address(Protocol):
    """Host and port at which a container listens."""

    host: str
    port: int


class ContainerError(Exception):
    """Error for an incomplete answer of a container: its connection was lost, the time limit was reached ("late"), or
    the client has disconnected ("left").
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Containers:
    """Sends requests to containers; thread-safe."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int], list[HTTPConnection]] = {}
        self._sweep_at = 0.0
        self._lock = threading.Lock()
        self._watch = _ExchangeWatch()

    def ask(
        self,
        where: Address,
        path: str,
        body: bytes | IO[bytes],
        headers: Mapping[str, str],
        *,
        seconds: float,
        client: socket.socket | None = None,
        method: str = "POST",
    ) -> "Exchange":
        """Sends a request, and returns the exchange once the answer begins.

        Args:
            where: the container.
            path: path of the request.
            body: sent unchanged; a file is sent with its Content-Length.
            headers: sent unchanged.
            seconds: time limit until the end of the answer.
            client: socket whose closing by the peer ends the exchange.
            method: HTTP method.

        Raises:
            ContainerError: the container does not answer.
        """
        address = (where.host, where.port)
        try:
            connection = self._idle_connection(address) or _connected(address)
        except OSError as e:
            raise ContainerError("lost") from e
        guard = self._watch.guard(connection.sock, client, seconds)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
        except (OSError, HTTPException) as e:
            self._watch.release(guard)
            connection.close()
            raise ContainerError(guard.reason or "lost") from e
        return Exchange(self, connection, response, guard)

    def end(self, exchange: "Exchange") -> None:
        """Keeps the connection of an exchange that was read to its end, and closes any other."""
        self._watch.release(exchange.guard)
        connection, response = exchange.connection, exchange.response
        address = (connection.host, connection.port)
        whole = exchange.whole and not response.will_close and not exchange.guard.reason
        response.close()
        with self._lock:
            self._sweep()
            kept = self._idle.setdefault(address, [])
            if whole and len(kept) < _IDLE:
                kept.append(connection)
                return
        connection.close()

    def close(self) -> None:
        self._watch.close()
        with self._lock:
            for kept in self._idle.values():
                for connection in kept:
                    connection.close()
            self._idle.clear()

    def _sweep(self) -> None:
        """Closes idle connections that their containers have closed."""
        if time.monotonic() < self._sweep_at:
            return
        self._sweep_at = time.monotonic() + _SWEEP_SECONDS
        for address, kept in list(self._idle.items()):
            for connection in [each for each in kept if _readable(each)]:
                kept.remove(connection)
                connection.close()
            if not kept:
                del self._idle[address]

    def _idle_connection(self, address: tuple[str, int]) -> HTTPConnection | None:
        """Returns an idle connection that the container has not closed; None if there is none."""
        while True:
            with self._lock:
                kept = self._idle.get(address)
                if not kept:
                    return None
                connection = kept.pop()
            if not _readable(connection):
                return connection
            connection.close()


class Exchange:
    """A container's answer as it arrives. `end` must be called in any case."""

    def __init__(
        self, containers: Containers, connection: HTTPConnection, response: HTTPResponse, guard: "_Guard"
    ) -> None:
        self.connection = connection
        self.response = response
        self.guard = guard
        self.whole = False
        self._containers = containers
        self._ended = False

    @property
    def status(self) -> int:
        return self.response.status

    def header(self, name: str) -> str | None:
        return self.response.headers.get(name)

    @property
    def headers(self) -> list[tuple[str, str]]:
        return self.response.headers.items()

    def piece(self) -> bytes:
        """Returns the next piece as soon as it arrives; empty at the end.

        Raises:
            ContainerError: the answer breaks off.
        """
        try:
            piece = self.response.read1(_PIECE_BYTES)
        except (OSError, HTTPException, ValueError) as e:
            raise ContainerError(self.guard.reason or "lost") from e
        if not piece:
            if self.guard.reason or self.response.length:  # bytes of Content-Length are missing
                raise ContainerError(self.guard.reason or "lost")
            self.whole = True
        return piece

    def read(self, most: int) -> bytes:
        """Returns the whole answer, truncated slightly above the given number of bytes.

        Raises:
            ContainerError: the answer breaks off.
        """
        read = bytearray()
        while len(read) <= most and (piece := self.piece()):
            read += piece
        return bytes(read)

    def end(self) -> None:
        """Releases the container."""
        if not self._ended:
            self._ended = True
            self._containers.end(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.piece, b"")


def _readable(connection: HTTPConnection) -> bool:
    """Returns whether bytes or the end of the stream can be read, which for an idle connection means that it was
    closed.
    """
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _connected(address: tuple[str, int]) -> HTTPConnection:
    connection = HTTPConnection(*address, timeout=5)
    connection.connect()
    connection.sock.settimeout(None)
    return connection


class _Guard:
    """The watched sockets and time limit of one exchange; `reason` says why its connection was closed."""

    def __init__(self, connection: socket.socket, client: int, end: float) -> None:
        self.connection = connection
        self.client = client
        self.end = end
        self.reason: Reason | None = None


class _ExchangeWatch:
    """Watches for disconnected clients and exceeded time limits. A released guard is never touched again: its
    connection may serve another exchange by then.
    """

    def __init__(self) -> None:
        self._epoll: Any = None
        self._guards: set[_Guard] = set()
        self._clients: dict[int, _Guard] = {}
        self._lock = threading.Lock()

    def guard(self, connection: socket.socket, client: socket.socket | None, seconds: float) -> _Guard:
        guard = _Guard(connection, client.fileno() if client else -1, time.monotonic() + seconds)
        with self._lock:
            if self._epoll is None:
                self._epoll = select.epoll()
                threading.Thread(target=self._run, args=[self._epoll], name="exchanges", daemon=True).start()
            self._guards.add(guard)
            if guard.client >= 0:
                self._clients[guard.client] = guard
                self._epoll.register(guard.client, _LEFT)
        return guard

    def release(self, guard: _Guard) -> None:
        with self._lock:
            if guard not in self._guards:
                return
            self._guards.remove(guard)
            if self._clients.pop(guard.client, None) and self._epoll:
                with suppress(OSError):
                    self._epoll.unregister(guard.client)

    def close(self) -> None:
        with self._lock:
            if self._epoll:
                self._epoll.close()
                self._epoll = None

    def _run(self, epoll: Any) -> None:
        while True:
            with suppress(ValueError):  # `close` was called
                epoll.poll(_TICK_SECONDS)
            now = time.monotonic()
            with self._lock:
                if self._epoll is not epoll:
                    return
                # Polls again under the lock: since the first poll, a descriptor may have been closed and reused.
                for client, _ in epoll.poll(0):
                    epoll.unregister(client)
                    self._stop(self._clients.pop(client, None), "left")
                for guard in [guard for guard in self._guards if guard.end <= now]:
                    self._stop(guard, "late")

    @staticmethod
    def _stop(guard: _Guard | None, reason: Reason) -> None:
        if guard and guard.reason is None:
            guard.reason = reason
            with suppress(OSError):
                guard.connection.shutdown(socket.SHUT_RDWR)
