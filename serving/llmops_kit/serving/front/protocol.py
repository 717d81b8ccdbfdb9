"""uvicorn's protocol behind the HTTP guard, which it informs about the progress of a request."""

import asyncio
import socket
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from llmops_kit.core.errors import ServingError
from llmops_kit.core.limits import RequestLimits
from llmops_kit.core.network.connections import ConnectionLimits
from llmops_kit.core.network.http_guard import GuardedConnection, HttpGuard, allowed_connections
from llmops_kit.serving.front.exchange import CONNECTION, Application

KEEPALIVE_SECONDS = 75
"""Time for which an idle connection is kept open."""


def guarded(guard: HttpGuard, server: uvicorn.Server) -> Callable[[], asyncio.BufferedProtocol]:
    """Returns a protocol factory for `loop.create_server`."""
    config, state = server.config, server.server_state
    return guard.factory(lambda connection: GuardedHttp(connection, config, state))


def guarded_class(guard: HttpGuard) -> Callable[..., asyncio.BufferedProtocol]:
    """Returns a protocol class for uvicorn's option `http`, for servers that uvicorn itself starts."""

    def connect(
        config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None
    ) -> asyncio.BufferedProtocol:
        return guard.factory(lambda connection: GuardedHttp(connection, config, server_state, app_state))()

    return connect


def new_guard(limits: RequestLimits) -> HttpGuard:
    """Returns the guard of a server with these limits; raises the process's limit of open files for it. A connection
    may need a second file (core/network/handover.py).
    """
    allowed = allowed_connections(limits.max_connections, files_each=2)
    return HttpGuard(
        ConnectionLimits(limits.read_seconds, limits.write_seconds, allowed, limits.max_connections_per_address)
    )


def http_server(app: Application) -> uvicorn.Server:
    """Returns uvicorn around an app, not started: the caller handles signals, listeners and shutdown."""
    config = uvicorn.Config(
        app, interface="asgi3", http=HttpToolsProtocol, ws="none", lifespan="off", log_config=None,
        access_log=False, proxy_headers=False, timeout_keep_alive=KEEPALIVE_SECONDS,
    )  # fmt: skip
    config.load()
    return uvicorn.Server(config)


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket for a server.

    Raises:
        ServingError: the address can't be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as e:
        sock.close()
        raise ServingError(
            f"can't be used: {e.strerror}", where=f"{host}:{port}",
            fix="free the port, or set SAGEMAKER_BIND_TO_PORT (and LLMOPS_BIND) to another address",
        ) from None  # fmt: skip
    sock.setblocking(False)
    return sock


class GuardedHttp(HttpToolsProtocol):
    """One connection. Unlike uvicorn, which closes at once after a last response, it first lets a client that is still
    sending read the response.
    """

    def __init__(
        self,
        guarded: GuardedConnection,
        config: uvicorn.Config,
        state: ServerState,
        app_state: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(config, state, app_state or {})
        self._guarded = guarded
        self._deaf = False
        self.own_headers: list[tuple[bytes, bytes]] = []
        """Headers of each answer, in addition to the app's."""

    @property
    def received(self) -> int:
        """Bytes of the request received so far."""
        return self._guarded.received

    @property
    def complete(self) -> bool:
        """Whether the whole request has arrived."""
        return not self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.answers = _AnswerTransport(transport, self)
        super().connection_made(self.answers)  # pyright: ignore[reportArgumentType]

    def data_received(self, data: bytes) -> None:
        if self._deaf or not self.parser:
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # unsupported: answer as plain HTTP, then close
            self._hear_no_more()
        except httptools.HttpParserError:
            if self.cycle and not self.cycle.response_complete and not self.cycle.more_body:
                self._hear_no_more()  # the request that is being answered was valid
            else:
                self._guarded.refuse_http()

    def _hear_no_more(self) -> None:
        self._deaf = True
        if self.cycle:
            self.cycle.keep_alive = False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: self}  # pyright: ignore[reportGeneralTypeIssues]

    def on_headers_complete(self) -> None:
        self._guarded.begin()
        self.server_state.default_headers = [(b"date", formatdate(usegmt=True).encode()), *self.own_headers]
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._guarded.end(complete=True)

    def begin_answer(self, head: bytes) -> None:
        """Called with an answer's head before it is sent."""

    def give_up(self) -> None:
        """Stops the protocol, because the guard answers in its place."""
        self.answers.closing = True  # a request that has begun must not send "100 Continue"
        self.connection_lost(ConnectionResetError())

    def finish(self, transport: asyncio.Transport) -> None:
        """Closes the connection after its last response."""
        if self.cycle and self.cycle.more_body and not self.cycle.disconnected:
            self.cycle.body.clear()
            self.flow.resume_reading()
            self._guarded.linger()
        else:
            transport.close()


class _AnswerTransport:
    """A connection's transport: leaves closing to the protocol, and sends a response's head with the start of its body.

    Sent separately, the head would wake the client in vain.
    """

    def __init__(self, transport: asyncio.Transport, protocol: GuardedHttp) -> None:
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.get_extra_info = transport.get_extra_info
        self._transport = transport
        self._protocol = protocol
        self.closing = False
        self._head = b""
        self._headed: object = None  # the cycle whose head was written

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif self._headed is not (cycle := self._protocol.cycle) and cycle.response_started:
            self._headed = cycle
            self._protocol.begin_answer(data)
            if cycle.scope["method"] != "HEAD":
                self._head = data
                return
        if not self._transport.is_closing():  # uvloop raises then, asyncio does not
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self.closing or self._transport.is_closing()

    def close(self) -> None:
        if not self.is_closing():
            self.closing = True
            if self._head:
                self._transport.write(self._head)
            self._protocol.finish(self._transport)
