"""The front as vLLM's middleware under uvicorn, with the kit's guard, on a socket: an app of a few lines is vLLM's."""

import asyncio
import http.client
import json
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn

from llmops_kit.core.limits import RequestLimits
from llmops_kit.serving.front import Front
from llmops_kit.serving.front.exchange import Receive, Scope, Send
from llmops_kit.serving.front.protocol import bind, guarded_class, new_guard
from llmops_kit.serving.front.readiness import Readiness
from llmops_kit.serving.loading import LoadingServer
from llmops_kit.serving.server_settings import ServerSettings
from tests.support.servers.vllm_stand_in import as_loaded

KEY = "a-key-for-tests-0123456789"
BODY = {"messages": [{"role": "user", "content": "Hello"}]}
# Of vLLM's own routes, and of other servers that were attacked through them.
HIDDEN = [
    "/docs", "/version", "/load", "/server_info", "/scale_elastic_ep", "/tokenize",
    "/detokenize", "/inference/v1/generate", "/inference/v1/abort_requests", "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter", "/start_profile", "/stop_profile", "/sleep", "/wake_up", "/collective_rpc",
    "/reset_prefix_cache", "/v1/messages", "/pooling", "/adapters", "/pause", "/v2/repository/index", "/.env",
]  # fmt: skip
NAMES = ["../x", "%2e%2e/x", "..%2fx", "file:///etc/passwd", "a%00b", "x" * 4000]


class StubVllm:
    """Answers every path, as vLLM would some of them, and remembers what reached it."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.append(scope["path"])
        body = (await receive())["body"] if scope["method"] == "POST" else b"{}"
        if not json.loads(body).get("stream"):
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"reached"})
            return
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'data: {"first": 1}\n\n', "more_body": True})
        await asyncio.Event().wait()


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    (tmp_path / "api.key").write_text(KEY)

    def setenv(**variables: str) -> None:
        given = {"LLMOPS_API_KEY_FILE": str(tmp_path / "api.key"), "LLMOPS_PUBLIC_KEY": "PEM", **variables}
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return setenv


@asynccontextmanager
async def serving(app: Any, sock: socket.socket | None = None) -> AsyncIterator[tuple[Front, int]]:
    """Front and port of a server, started as vLLM's launcher does it."""
    front = as_loaded(Front(app))
    guard = new_guard(RequestLimits(read_seconds=0.2))
    config = uvicorn.Config(front, http=guarded_class(guard), ws="none", lifespan="off", log_config=None)  # pyright: ignore[reportArgumentType]
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    sock = sock or bind("127.0.0.1", 0)
    await server.startup(sockets=[sock])
    try:
        yield front, sock.getsockname()[1]
    finally:
        await server.shutdown(sockets=[sock])
        sock.close()


async def ask(
    port: int, method: str, path: str, body: Any = None, *, key: str = KEY, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    def blocking() -> tuple[int, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Authorization": f"Bearer {key}"} | (headers or {}))
            response = connection.getresponse()
            return response.status, response.read().decode()

    return await asyncio.to_thread(blocking)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        await scenario()

    asyncio.run(all_of_it())


@pytest.mark.cve("admin-routes", "key-on-every-route", "model-names", "image-url", "prompt-embeds")
def test_vllm_is_reached_with_the_key_by_listed_routes_and_checked_bodies_alone(environ: Callable[..., None]) -> None:
    environ()
    app = StubVllm()
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]
    refused = [
        {"prompt_embeds": "gASV"},
        {"messages": image},
        {"chat_template": "{{ 1 }}"},
        {"n": 10**6},
        {"stop": ["a"] * 9},
    ]

    async def scenario() -> None:
        async with serving(app) as (_, port):
            for path in [*HIDDEN, "/v1/chat/completions", "/invocations", "/", "/v1/responses", "/v1/embeddings"]:
                for key in ("", "another-key-0123456789"):
                    assert (await ask(port, "POST", path, BODY, key=key))[0] == 401, path
            for path in HIDDEN:
                assert {(await ask(port, method, path, BODY))[0] for method in ("GET", "POST", "PUT")} == {404}, path
            for name in NAMES:
                assert (await ask(port, "GET", f"/v2/models/{name}"))[0] == 404
            for path in ("/v1/chat/completions", "/invocations", "/v1/completions", "/v1/responses"):
                for fields in refused:
                    assert (await ask(port, "POST", path, BODY | fields))[0] == 400, fields
            assert (await ask(port, "GET", "/health", key=""))[0] == 200  # the front's own
            assert app.reached == []
            assert await ask(port, "POST", "/invocations", BODY) == (200, "reached")
            assert app.reached == ["/v1/chat/completions"]

    run(scenario)


@pytest.mark.cve("giant-header", "giant-body")
def test_slow_and_huge_heads_and_bodies_are_refused_before_vllm(environ: Callable[..., None]) -> None:
    environ(LLMOPS_MAX_BODY="2000")
    app, many = StubVllm(), {f"X-{number}": "x" for number in range(200)}

    async def scenario() -> None:
        async with serving(app) as (_, port):
            assert (await ask(port, "POST", "/invocations", BODY, headers={"X-Big": "x" * 9000}))[0] == 431
            assert (await ask(port, "POST", "/invocations", BODY, headers=many))[0] == 431
            assert (await ask(port, "GET", "/" + "x" * 9000))[0] == 414
            assert (await ask(port, "POST", "/invocations", {"x": "y" * 3000}))[0] == 413
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /invocations HTTP/1.1\r\nHost: x\r\nX-Slow")
            assert await reader.read() == b""  # closed after its time
            writer.close()
            assert app.reached == []
            assert (await ask(port, "POST", "/invocations", BODY))[0] == 200

    run(scenario)


def test_a_stream_that_outlasts_the_drain_ends_in_an_error_frame_and_then_vllm_is_ended(
    environ: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, child = socket.socketpair()
    environ(LLMOPS_PHASE_FD=str(child.fileno()), LLMOPS_DRAIN_SECONDS="0.1", LLMOPS_MAX_RUNNING="1")
    ended: list[int] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: ended.append(1))
        async with serving(StubVllm()) as (front, port):
            assert front._foreign
            front._foreign._parent.listen()
            streams = [asyncio.create_task(ask(port, "POST", "/invocations", BODY | {"stream": True})) for _ in "ab"]
            while not front.admission.queued:
                await asyncio.sleep(0.01)
            parent.sendall(b"stopping\n")
            while (await ask(port, "GET", "/ping"))[0] != 503:
                await asyncio.sleep(0.01)
            parent.sendall(b"draining\n")
            running, waiting = sorted([await stream for stream in streams])
            first, last, _ = running[1].split("\n\n")
            assert (running[0], first) == (200, 'data: {"first": 1}')
            assert json.loads(last.removeprefix("data: "))["error"]["message"] == "the server stops"
            assert (waiting[0], json.loads(waiting[1])["error"]["code"]) == (503, "unavailable")
            while not ended:
                await asyncio.sleep(0.01)

    run(scenario)
    parent.close()
    child.close()


def test_while_vllm_loads_ping_says_why_and_then_vllm_takes_the_socket_over(environ: Callable[..., None]) -> None:
    environ()
    settings = ServerSettings(Path(), "", api_key=KEY)

    async def scenario() -> None:
        readiness, sock = Readiness(), bind("127.0.0.1", 0)
        sock.listen(16)
        port = sock.getsockname()[1]
        readiness.enter("loading weights", lambda: 0.5)
        loading = LoadingServer(settings, sock, readiness)
        status, body = await ask(port, "GET", "/ping")
        assert (status, json.loads(body)["status"], json.loads(body)["progress"]) == (503, "loading weights", 0.5)
        assert (await ask(port, "POST", "/invocations", BODY, key=""))[0] == 401
        status, body = await ask(port, "POST", "/invocations", BODY)
        assert (status, json.loads(body)["error"]["code"]) == (503, "unavailable")
        idle, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await idle.readuntil(b"\r\n")).split()[1] == b"503"
        async with serving(StubVllm(), sock) as (_, served):
            assert served == port
            await asyncio.to_thread(loading.close)
            await asyncio.to_thread(loading.close)
            await idle.read()  # its connection was closed: its next request goes to vLLM
            assert await ask(port, "POST", "/invocations", BODY) == (200, "reached")
        writer.close()

    run(scenario)


def test_progress_that_vllm_prints_is_the_phase_of_ping() -> None:
    from llmops_kit.serving.vllm_server import _VllmProcess

    readiness, unused = Readiness(), cast(Any, None)
    child = _VllmProcess(unused, unused, readiness)
    for line, expected in (
        (
            "(Worker pid=7) Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01]",
            ("loading weights", 0.5),
        ),
        ("INFO 11-29 03:25:08 [parallel_state.py:1906] world_size=1", ("loading weights", 0.5)),
        ("Loading safetensors checkpoint shards: 100% Completed | 2/2 [00:02<00:00]", ("starting vLLM", None)),
        ("Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  57%|###", ("capturing graphs", 0.57)),
    ):
        child.note(line)
        status, body = readiness.describe()
        assert (status, body["status"], body.get("progress")) == (503, *expected)
    assert len(child.lines) == 4
