"""The router of one endpoint: `python -m hosting.router FOLDER`, with router.json and, once set, routes.json in it.

Forwards any request to a backend and streams the answer as it comes. A request is lost only if its own backend dies
after the first byte of its answer, and then its connection is cut, so that the client can't take it for complete.
"""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict
from pydantic import Field
from yarl import URL

from contract.api_key import authorized_digest
from contract.connections import ConnectionLimits
from contract.documents.document import Document
from contract.errors import DocumentError
from contract.http_guard import HttpGuard, allowed_connections
from hosting.balance import Backend, Routes, Table
from hosting.http_handler import GuardedRequests, refusal, unauthorized
from hosting.spec import ROUTER_BODY_BYTES

SOCKET = "router.sock"
CONFIGURATION = "router.json"
ROUTES = "routes.json"
VARIANT_HEADER = "X-Llmops-Variant"
"""In an answer: the variant that gave it. In a request: the variant that must answer it, whatever the weights."""
ALL_VARIANTS = "*"
"""As the variant of a request: the router itself answers with the list of variants."""

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
_KEPT_BODY_BYTES = 1 << 20  # A body up to here is kept until the answer begins, and sent again if need be.
_MOST_RESETS = 2  # A request that kills each worker it meets must not meet all of them.
_PROBE_SECONDS = 1.0
_PROBE_SECONDS_WHILE_DOWN = 0.1
_PROBE_TIMEOUT = aiohttp.ClientTimeout(total=3)
_PROBE_MISSES = 3  # A busy worker may answer a probe late; one that refuses the connection is down at once.


class RouterConfiguration(Document):
    """router.json."""

    SCHEMA: ClassVar[str] = "router/1"

    endpoint: str
    bind: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    hold_seconds: float = Field(default=10.0, description="How long a request waits for a backend to come back.")
    read_seconds: float = Field(default=60.0, description="How long a client may take to send a body, or go silent.")
    drain_seconds: float = Field(default=30.0, description="Time that answers have to finish when the router ends.")
    header_seconds: float = Field(
        default=ConnectionLimits.header_seconds, description="How long a client may take to send a request's headers."
    )
    write_seconds: float = Field(
        default=ConnectionLimits.write_seconds, description="How long a client may stop reading its answer."
    )
    max_body_bytes: int = Field(default=ROUTER_BODY_BYTES)
    max_connections: int = Field(default=ConnectionLimits.connections, ge=1)
    max_connections_per_address: int = Field(default=ConnectionLimits.connections_per_address, ge=1)
    supervisor_socket: str = Field(default="", description="Woken when a backend is down: it looks once a second.")


class _NotAnsweredError(Exception):
    """A backend gave no byte of an answer; `sent`: it may have seen the request."""

    def __init__(self, reason: str, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class Router:
    """Server, backends' health and admin socket of one endpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = RouterConfiguration.load(folder / CONFIGURATION)
        self.table = Table()
        connections = allowed_connections(self.config.max_connections, files_each=2)  # one on either side
        per_address = self.config.max_connections_per_address
        limits = ConnectionLimits(self.config.header_seconds, self.config.write_seconds, connections, per_address)
        self._guarded = GuardedRequests(HttpGuard(limits))
        self._probes: dict[Backend, asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession

    async def run(self) -> None:
        """Serve until SIGTERM, then finish what was begun."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with _client() as self._session:
            if (self.folder / ROUTES).exists():
                self._apply(Routes.load(self.folder / ROUTES))
            server = web.Server(self.answer, handler_cancellation=True)
            front = web.ServerRunner(server, shutdown_timeout=1)
            admin = web.AppRunner(self._admin(), access_log=None, shutdown_timeout=1)
            await front.setup()
            await admin.setup()
            protocols = self._guarded.factory(
                server, auto_decompress=False, keepalive_timeout=self.config.read_seconds, lingering_time=2.0
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
        """Answer a request whose headers have come."""
        self._guarded.begin(request)
        try:
            return await self.forward(request)
        finally:
            self._guarded.end(request)

    async def forward(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request with the answer of a backend."""
        if request.method == hdrs.METH_CONNECT or not request.raw_path.startswith("/"):
            return refusal(400, "only requests for a path are forwarded", "invalid_request", close=True)
        if (request.content_length or 0) > self.config.max_body_bytes:
            return _too_large(self.config)
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
        try:
            async with asyncio.timeout(self.config.read_seconds):
                body = await self._take_body(request)
        except TimeoutError:
            return _too_slow(self.config)
        if isinstance(body, _Stream) or len(body) <= self.config.max_body_bytes:
            return await self._forward(request, body)
        return _too_large(self.config)

    async def _forward(self, request: web.BaseRequest, body: "bytes | _Stream") -> web.StreamResponse:
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
            except _NotAnsweredError as e:
                if isinstance(body, _Stream) and body.refusal:
                    return body.refusal
                tried = [backend]
                resets += e.sent
                print(f"{backend.url}: {e} (request sent: {e.sent})", flush=True)
                begun = isinstance(body, _Stream) and body.begun
                if begun or resets > _MOST_RESETS or time.monotonic() > deadline:
                    what = f"an instance of {self.config.endpoint} ended without an answer"
                    return refusal(502, what, "bad_gateway")

    def _unavailable(self) -> web.Response:
        return refusal(503, f"no instance of {self.config.endpoint} is ready", "unavailable", retry=5)

    async def _send(self, request: web.BaseRequest, body: "bytes | _Stream", backend: Backend) -> web.StreamResponse:
        start = time.monotonic()
        backend.in_flight += 1
        backend.requests += 1
        upstream = None
        try:
            upstream = await self._open(request, body, backend)
            if upstream.status >= 500:
                backend.errors += 1
            return await self._relay(request, upstream, backend, start)
        finally:
            if upstream is not None:
                # Not at its end: closes the connection, which tells the backend that nobody listens any more.
                upstream.release() if upstream.content.at_eof() else upstream.close()
            backend.in_flight -= 1
            if not backend.in_flight:
                self.table.notify()

    async def _open(
        self, request: web.BaseRequest, body: "bytes | _Stream", backend: Backend
    ) -> aiohttp.ClientResponse:
        url = URL(backend.url + request.raw_path, encoded=True)
        headers = _end_to_end(request.headers, leave_out=("expect", "content-length"))
        if isinstance(body, _Stream) and request.content_length is not None:
            headers[hdrs.CONTENT_LENGTH] = str(request.content_length)
        try:
            return await self._session.request(
                request.method, url, headers=headers, data=body or None, allow_redirects=False
            )
        except aiohttp.ClientConnectorError as e:
            self._lost(backend, f"connection refused: {e.strerror}", down=True)
            raise _NotAnsweredError("connection refused", sent=False) from e
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            if isinstance(body, _Stream) and body.refusal:
                raise _NotAnsweredError("the client did not send its body", sent=True) from e
            backend.errors += 1
            self._lost(backend, f"{type(e).__name__} before an answer", down=False)
            raise _NotAnsweredError(f"{type(e).__name__} before an answer", sent=True) from e

    async def _relay(
        self, request: web.BaseRequest, upstream: aiohttp.ClientResponse, backend: Backend, start: float
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
        response.headers.update(_end_to_end(upstream.headers))
        response.headers[VARIANT_HEADER] = backend.variant
        await response.prepare(request)
        first = True
        chunks = upstream.content
        while True:
            try:
                chunk = await chunks.readany()
            except (aiohttp.ClientError, OSError) as e:
                backend.errors += 1
                self._lost(backend, f"{type(e).__name__} in an answer", down=False)
                print(f"{backend.url}: an answer was cut: {e}", flush=True)
                if request.transport:
                    request.transport.abort()
                return response
            if first:
                backend.count_first_byte(time.monotonic() - start)
                first = False
            try:
                if not chunk:
                    await response.write_eof()
                    return response
                await response.write(chunk)
            except ConnectionResetError:  # the client went away
                return response

    async def _take_body(self, request: web.BaseRequest) -> "bytes | _Stream":
        if not request.body_exists:
            return b""
        kept = bytearray()
        while len(kept) <= _KEPT_BODY_BYTES:
            chunk = await request.content.readany()
            if not chunk:
                return bytes(kept)
            kept += chunk
        return _Stream(bytes(kept), request.content, self.config, lambda: self._guarded.received(request))

    async def _watch(self, backend: Backend) -> None:
        """Asks a backend for its health, again and again, until the task is cancelled."""
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
                print(f"{backend.url} ({backend.variant}): {'healthy' if healthy else reason}", flush=True)
                self.table.notify()
                if not healthy:
                    await self._wake_supervisor()
            await asyncio.sleep(_PROBE_SECONDS if healthy else _PROBE_SECONDS_WHILE_DOWN)

    def _lost(self, backend: Backend, reason: str, down: bool) -> None:
        """A request met a lost connection: ask for the health now; until then refused means down."""
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


def _client() -> aiohttp.ClientSession:
    """Passes on what it is given. No limit to connections: how many requests a backend takes is its own decision."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15, force_close=False),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE),
    )


class _Stream:
    """A body too long to keep: its beginning, then the rest as the client sends it. Can be sent once.

    `refusal` is the answer when the client is at fault.
    """

    def __init__(
        self, kept: bytes, rest: aiohttp.StreamReader, config: RouterConfiguration, received: Callable[[], int]
    ) -> None:
        self._kept, self._rest, self._config, self._received = kept, rest, config, received
        self._left = config.max_body_bytes - len(kept)
        self.begun = False
        self.refusal: web.Response | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun = True
        yield self._kept
        while chunk := await self._next():
            self._left -= len(chunk)
            if self._left < 0 or self._received() > 2 * self._config.max_body_bytes:  # with its chunks' frames
                self.refusal = _too_large(self._config)
                raise ValueError("too large")
            yield chunk

    async def _next(self) -> bytes:
        try:
            return await asyncio.wait_for(self._rest.readany(), self._config.read_seconds)
        except Exception:
            self.refusal = _too_slow(self._config)
            raise


def _too_large(config: RouterConfiguration) -> web.Response:
    return refusal(413, f"a body has at most {config.max_body_bytes} bytes", "body_too_large", close=True)


def _too_slow(config: RouterConfiguration) -> web.Response:
    return refusal(408, f"the body did not come within {config.read_seconds:g} s", "body_timeout", close=True)


def _end_to_end(headers: Mapping[str, str], leave_out: tuple[str, ...] = ()) -> CIMultiDict[str]:
    """The headers without those that concern one connection, and those that `Connection` names."""
    named = {name.strip().lower() for name in headers.get(hdrs.CONNECTION, "").split(",")}
    dropped = _HOP_BY_HOP | named | set(leave_out)
    return CIMultiDict((k, v) for k, v in headers.items() if k.lower() not in dropped)


if __name__ == "__main__":
    asyncio.run(Router(Path(sys.argv[1])).run())
