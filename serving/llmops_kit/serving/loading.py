"""Answers while vLLM loads: /ping with phase and progress, all other routes with 503, on the socket that vLLM's server
takes over.

SageMaker, Azure ML and the router count a refused connection as not ready, like a 503, but only a 503 gives the reason.
"""

import asyncio
import socket
import threading
from contextlib import suppress

import uvloop

from llmops_kit.serving.errors import unavailable
from llmops_kit.serving.front import Front
from llmops_kit.serving.front.exchange import Receive, Scope, Send
from llmops_kit.serving.front.protocol import guarded, http_server, new_guard
from llmops_kit.serving.front.readiness import Readiness
from llmops_kit.serving.metrics import Metrics
from llmops_kit.serving.server_settings import ServerSettings


class LoadingServer:
    """A server on a thread, until it is closed."""

    def __init__(self, settings: ServerSettings, sock: socket.socket, readiness: Readiness) -> None:
        """Accepts connections at once.

        Args:
            settings: the server's.
            sock: a listening socket, which stays open.
            readiness: reported by /ping; its phase may change, and it never opens.

        Raises:
            ServingError: the file of keys is invalid.
        """
        self._settings = settings
        self._front = Front(_unavailable, settings, Metrics(), readiness)
        self._sock = sock.dup()
        self._sock.setblocking(False)
        self._loop = uvloop.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="loading", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops accepting, and closes connections once they are answered; those in the backlog wait for vLLM's server.
        Can be repeated.
        """
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        guard, server = new_guard(self._settings.limits), http_server(self._front)
        listener = await self._loop.create_server(guarded(guard, server), sock=self._sock)
        await self._closing.wait()
        listener.close()
        connections = server.server_state.connections
        for connection in list(connections):
            connection.shutdown()
        with suppress(TimeoutError):  # a client that doesn't read is cut
            async with asyncio.timeout(self._settings.limits.write_seconds):
                while connections:
                    await asyncio.sleep(0.02)


async def _unavailable(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Stands in for the app behind the front, which passes nothing on before it is open."""
    raise unavailable("loading")
