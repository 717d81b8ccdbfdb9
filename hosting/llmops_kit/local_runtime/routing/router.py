"""The router of one endpoint: `python -m llmops_kit.local_runtime.routing.router FOLDER`.

The folder has router.json and, once set, routes.json.

Reads a request, chooses a backend, and hands the client's connection over to it; if the backend takes no connections,
relays the request, and streams the answer back. A request is lost only if its backend dies after the first byte of the
answer; then its connection is cut, so that the client can't take the answer for complete.
"""

import asyncio
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import aiohttp
from aiohttp import hdrs, web
from pydantic import Field

from llmops_kit.core.document import Document
from llmops_kit.core.errors import DocumentError
from llmops_kit.core.network.api_key import authorized_digest
from llmops_kit.core.network.connections import ConnectionLimits
from llmops_kit.core.network.http_guard import HttpGuard, allowed_connections
from llmops_kit.local_runtime.routing import handover
from llmops_kit.local_runtime.routing.balance import Backend, Routes, Table
from llmops_kit.local_runtime.routing.forwarding import (
    VARIANT_HEADER,
    BodiesFullError,
    BodyMemory,
    HeldBody,
    LongBody,
    NotAnsweredError,
    bodies_full,
    take_body,
    too_large,
    too_slow,
)
from llmops_kit.local_runtime.routing.handover import WrittenResponse
from llmops_kit.local_runtime.routing.http_handler import GuardedRequests, refusal, unauthorized
from llmops_kit.local_runtime.routing.relay import Relay, client_session
from llmops_kit.local_runtime.spec import ROUTER_BODY_BYTES

SOCKET = "router.sock"
CONFIGURATION = "router.json"
ROUTES = "routes.json"
ALL_VARIANTS = "*"
"""Variant of a request that the router itself answers, with the list of variants."""

_MOST_RESETS = 2  # A request that kills each worker it reaches must not reach all of them.
_PROBE_SECONDS = 1.0
_PROBE_SECONDS_WHILE_DOWN = 0.1
_PROBE_TIMEOUT = aiohttp.ClientTimeout(total=3)
_PROBE_MISSES = 3  # A busy worker may answer a probe late; one that refuses the connection is down at once.


class RouterConfiguration(Document):
    """router.json: where a router listens, how long it waits, and the workers to which it sends requests."""

    SCHEMA: ClassVar[str] = "router/1"

    endpoint: str
    bind: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    hold_seconds: float = Field(default=10.0, description="How long a request waits for a backend to come back.")
    read_seconds: float = Field(
        default=10.0, description="How long a client may take to send a body's first part, and pause within the rest."
    )
    keepalive_seconds: float = Field(default=60.0, description="How long a connection may lie idle between requests.")
    drain_seconds: float = Field(default=30.0, description="Time that answers have to finish when the router ends.")
    header_seconds: float = Field(
        default=ConnectionLimits.header_seconds, description="How long a client may take to send a request's headers."
    )
    write_seconds: float = Field(
        default=ConnectionLimits.write_seconds, description="How long a client may stop reading its answer."
    )
    max_body_bytes: int = Field(default=ROUTER_BODY_BYTES)
    max_held_bytes: int = Field(
        default=64 << 20,
        description="Bytes of bodies that are held at once for all requests, each beyond its first 64 KiB. A body is "
        "held twice while it is handed over.",
    )
    max_connections: int = Field(default=ConnectionLimits.connections, ge=1)
    max_connections_per_address: int = Field(default=ConnectionLimits.connections_per_address, ge=1)
    supervisor_socket: str = Field(
        default="", description="Supervisor to wake when a backend is down: it checks only once a second."
    )


class Router:
    """Server, backends' health and admin socket of one endpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = RouterConfiguration.load(folder / CONFIGURATION)
        self.table = Table()
        self._bodies = BodyMemory(self.config.max_held_bytes)
        connections = allowed_connections(self.config.max_connections, files_each=2)  # one on either side
        per_address = self.config.max_connections_per_address
        limits = ConnectionLimits(self.config.header_seconds, self.config.write_seconds, connections, per_address)
        self._guarded = GuardedRequests(HttpGuard(limits))
        self._probes: dict[Backend, asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession

    async def run(self) -> None:
        """Serves until SIGTERM, then finishes running requests."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with client_session() as self._session:
            self._relay = Relay(self._session)
            if (self.folder / ROUTES).exists():
                self._apply(Routes.load(self.folder / ROUTES))
            server = web.Server(self.answer, handler_cancellation=True)
            front = web.ServerRunner(server, shutdown_timeout=1)
            admin = web.AppRunner(self._admin(), access_log=None, shutdown_timeout=1)
            await front.setup()
            await admin.setup()
            protocols = self._guarded.factory(
                server, auto_decompress=False, keepalive_timeout=self.config.keepalive_seconds, lingering_time=2.0
            )
            listener = await asyncio.get_running_loop().create_server(
                protocols, self.config.bind, self.config.port, backlog=1024
            )
            await web.UnixSite(admin, SOCKET).start()
            print(f"router of {self.config.endpoint} on {self.config.bind}:{self.config.port}", flush=True)
            await stop.wait()
            listener.close()
            await self._drain()
            for runner in (admin, front):
                await runner.cleanup()
            for probe in self._probes.values():
                probe.cancel()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers a request whose headers were received."""
        self._guarded.begin(request)
        response = None
        try:
            response = await self.forward(request)
            return response
        finally:
            self._guarded.end(request)
            if isinstance(response, WrittenResponse) and response.keep_alive:
                self._guarded.take_back(request, response.rest)

    async def forward(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers a request with the answer of a backend."""
        if request.method == hdrs.METH_CONNECT or not request.raw_path.startswith("/"):
            return refusal(400, "only requests for a path are forwarded", "invalid_request", close=True)
        if (request.content_length or 0) > self.config.max_body_bytes:
            return too_large(self.config.max_body_bytes)
        if not self.table.has_traffic:
            return self._unavailable()
        keys, wanted = self.table.keys(), request.headers.get(VARIANT_HEADER, "")
        if (
            (request.body_exists or wanted == ALL_VARIANTS)
            and keys is not None
            and not authorized_digest(request.headers.get("Authorization", ""), keys)
        ):
            return unauthorized()
        if wanted == ALL_VARIANTS:
            return web.json_response(self.table.list_variants())
        if wanted and wanted not in self.table.routes.variants:
            return refusal(404, f"{self.config.endpoint} has no such variant", "variant_not_found")
        with self._bodies.request() as held:
            try:
                async with asyncio.timeout(self.config.read_seconds):
                    body = await self._take_body(request, held)
            except TimeoutError:
                return too_slow(self.config.read_seconds)
            except BodiesFullError:
                return bodies_full(self.config.max_held_bytes)
            if isinstance(body, LongBody) or len(body) <= self.config.max_body_bytes:
                return await self._forward(request, body)
            return too_large(self.config.max_body_bytes)

    async def _forward(self, request: web.BaseRequest, body: bytes | LongBody) -> web.StreamResponse:
        deadline = time.monotonic() + self.config.hold_seconds
        resets, tried = 0, []
        while True:
            backend = self.table.choose(tried, request.headers.get(VARIANT_HEADER, ""))
            if backend is None:
                left = deadline - time.monotonic()
                if left <= 0 or not self.table.has_traffic:
                    return self._unavailable()
                await self.table.changed(left)
                continue
            try:
                return await self._send(request, body, backend)
            except NotAnsweredError as e:
                tried = [backend]
                resets += e.sent
                print(f"{backend.url}: {e} (request sent: {e.sent})", flush=True)
                begun = isinstance(body, LongBody) and body.begun
                if begun or resets > _MOST_RESETS or time.monotonic() > deadline:
                    what = f"an instance of {self.config.endpoint} ended without an answer"
                    return refusal(502, what, "bad_gateway")

    def _unavailable(self) -> web.Response:
        return refusal(503, f"no instance of {self.config.endpoint} is ready", "unavailable", retry=5)

    async def _send(self, request: web.BaseRequest, body: bytes | LongBody, backend: Backend) -> web.StreamResponse:
        start = time.monotonic()
        backend.in_flight += 1
        backend.requests += 1
        try:
            if handed := handover.connected(request, body, backend):
                worker, message = handed
                with worker:
                    response = await handover.answer(request, message, backend, worker, start)
            else:
                response = await self._relay.answer(request, body, backend, start)
        except NotAnsweredError as e:
            backend.errors += e.sent
            self._lost(backend, str(e), down=e.down)
            raise
        finally:
            backend.in_flight -= 1
            if not backend.in_flight:
                self.table.notify()
        return response or self._cut(request, backend)

    def _cut(self, request: web.BaseRequest, backend: Backend) -> WrittenResponse:
        """Closes the connection of an answer that its backend did not complete."""
        backend.errors += 1
        self._lost(backend, "it ended in an answer", down=False)
        if request.transport:
            request.transport.abort()
        return WrittenResponse(kept=False)

    async def _take_body(self, request: web.BaseRequest, held: HeldBody) -> bytes | LongBody:
        config = self.config
        return await take_body(
            request, config.max_body_bytes, config.read_seconds, lambda: self._guarded.received(request), held
        )

    async def _watch(self, backend: Backend) -> None:
        """Polls a backend's health until the task is cancelled."""
        misses = 0
        while True:
            try:
                async with self._session.get(f"{backend.url}/ping", timeout=_PROBE_TIMEOUT) as answer:
                    healthy, reason = answer.status == 200, f"/ping answered {answer.status}"
                    misses = 0
            except aiohttp.ClientConnectorError:
                healthy, reason = False, "connection refused"
            except (aiohttp.ClientError, TimeoutError, OSError) as e:
                misses += 1
                healthy, reason = backend.healthy and misses < _PROBE_MISSES, f"/ping failed: {type(e).__name__}"
            if backend.mark(healthy, "" if healthy else reason):
                backend.takes_connections = healthy and bool(backend.socket) and handover.offered(backend.socket)
                print(f"{backend.url} ({backend.variant}): {'healthy' if healthy else reason}", flush=True)
                self.table.notify()
                if not healthy:
                    await self._wake_supervisor()
            await asyncio.sleep(_PROBE_SECONDS if healthy else _PROBE_SECONDS_WHILE_DOWN)

    def _lost(self, backend: Backend, reason: str, down: bool) -> None:
        """Polls a backend's health at once, after a request lost its connection; `down`: it was refused, so the backend
        counts as down until then.
        """
        if backend not in self._probes:
            return
        if down and backend.mark(False, reason):
            print(f"{backend.url} ({backend.variant}): {reason}", flush=True)
        self._probes[backend].cancel()
        self._probes[backend] = asyncio.create_task(self._wake_and_watch(backend))

    async def _wake_and_watch(self, backend: Backend) -> None:
        await self._wake_supervisor()
        await self._watch(backend)

    async def _wake_supervisor(self) -> None:
        if path := self.config.supervisor_socket:
            with suppress(OSError):
                _, writer = await asyncio.open_unix_connection(path)
                writer.close()

    async def _drain(self) -> None:
        deadline = time.monotonic() + self.config.drain_seconds
        backends = [*self.table.backends.values(), *self.table.draining]
        while any(b.in_flight for b in backends) and time.monotonic() < deadline:
            await self.table.changed(deadline - time.monotonic())

    def _apply(self, routes: Routes) -> None:
        added, removed = self.table.update(routes)
        for backend in removed:
            self._probes.pop(backend).cancel()
        for backend in added:
            self._probes[backend] = asyncio.create_task(self._watch(backend))

    def _admin(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/state", self._get_state)
        app.router.add_put("/routes", self._put_routes)
        return app

    async def _get_state(self, _request: web.Request) -> web.Response:
        return web.json_response(self.table.describe())

    async def _put_routes(self, request: web.Request) -> web.Response:
        try:
            routes = Routes.parse(await request.text(), where="PUT /routes")
        except DocumentError as e:
            return web.json_response({"error": str(e)}, status=400)
        routes.write(self.folder / ROUTES)
        self._apply(routes)
        weights = ", ".join(f"{v} {r.weight}" for v, r in routes.variants.items())
        print(f"routes: {weights or 'none'}", flush=True)
        return web.json_response(self.table.describe())


if __name__ == "__main__":
    asyncio.run(Router(Path(sys.argv[1])).run())
