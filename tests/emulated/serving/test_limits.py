"""Clients that mean no good: 4xx and a closed connection, never 500."""

import json
import random
import socket

import pytest

from tests.support.servers.serving import API_KEY, ServingProcess, send_all, trickle, until

HELLO = [{"role": "user", "content": "Hello"}]


def raw(server: ServingProcess, *parts: bytes) -> bytes:
    """Send bytes; everything that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as sock:
        return send_all(sock, *parts)


def cut(sock: socket.socket) -> bool:
    """Whether the server ends the connection without another word."""
    try:
        return sock.recv(65536) == b""
    except ConnectionResetError:
        return True


def head(path: str = "/v1/chat/completions", **headers: object) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {API_KEY}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.cve("key-on-every-route")
@pytest.mark.parametrize(
    "path", ["/v1/models", "/metrics", "/v1/chat/completions", "/invocations", "/docs", "/chat.map"]
)
def test_every_route_needs_the_key(shared_server: ServingProcess, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        status, answer = shared_server.ask(method, path, key=None)
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
        assert shared_server.ask(method, path, key="wrong" * 5)[0] == 401
    assert shared_server.ask("POST", "/", {"messages": HELLO}, key=None)[0] == 401


def test_health_and_page_need_none(shared_server: ServingProcess) -> None:
    for path in ("/ping", "/health", "/", "/chat.css", "/chat.js", "/markdown.js"):
        assert shared_server.ask("GET", path, key=None)[0] == 200
    assert "default-src 'none'" in shared_server.headers["Content-Security-Policy"]


def test_nothing_is_said_to_other_origins(shared_server: ServingProcess) -> None:
    shared_server.ask("OPTIONS", "/v1/chat/completions", Origin="http://evil.example")
    shared_server.ask(
        "POST", "/v1/chat/completions", {"messages": HELLO, "max_tokens": 1}, Origin="http://evil.example"
    )
    assert not [h for h in shared_server.headers if h.lower().startswith("access-control")]
    assert "aiohttp" not in shared_server.headers["Server"]


def test_no_such_route_and_method(shared_server: ServingProcess) -> None:
    assert shared_server.ask("GET", "/docs")[1]["error"]["code"] == "not_found"
    assert shared_server.ask("PUT", "/v1/models")[1]["error"]["code"] == "method_not_allowed"


@pytest.mark.cve("model-names")
@pytest.mark.parametrize("name", ["../tiny@1", "%2e%2e%2fetc", "file:///etc/passwd", "tiny@2", "a\u0000b", "x" * 250])
def test_other_models_are_404(shared_server: ServingProcess, name: str) -> None:
    status, answer = shared_server.chat(model=name)
    assert (status, answer["error"]["code"]) == (404, "model_not_found")


def test_headers_that_trickle_are_cut(shared_server: ServingProcess) -> None:
    with socket.create_connection(("127.0.0.1", shared_server.port), timeout=60) as sock:
        sock.sendall(head()[:-2])
        sock.settimeout(0.2)
        sent = trickle(sock)
    assert 0 < sent < 100


def test_a_silent_connection_and_a_second_slow_request_are_cut(shared_server: ServingProcess) -> None:
    assert raw(shared_server) == b""
    with socket.create_connection(("127.0.0.1", shared_server.port), timeout=60) as sock:
        sock.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        sock.sendall(b"GET /ping HTTP/1.1\r\nHo")
        assert cut(sock)


@pytest.mark.scorecard("slow-loris")
def test_a_body_that_trickles_is_cut(shared_server: ServingProcess) -> None:
    assert b" 408 " in raw(shared_server, head(Content_Length=100), b'{"messages"').split(b"\r\n")[0]


@pytest.mark.parametrize(
    "request_",
    [
        head(X_Long="a" * 100_000),
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        head("/", **{f"X_{i}": i for i in range(500)}),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10 + b"\r\n\r\n",
        head(Content_Length="-5"),
        head(Content_Length="5", Transfer_Encoding="chunked"),
        head(Transfer_Encoding="chunked") + b"zz\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
    ],
)  # fmt: skip
def test_malformed_http_is_400(shared_server: ServingProcess, request_: bytes) -> None:
    answer = raw(shared_server, request_)
    assert answer.split(b"\r\n")[0].split(b" ")[1] in (b"400", b"401", b"414", b"431", b"505")
    assert b"Traceback" not in answer


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_413(shared_server: ServingProcess, declared: bool) -> None:
    large = b'"' + b"x" * 7_000_000
    if declared:
        parts = [head(Content_Length=len(large)), large]
    else:
        parts = [head(Transfer_Encoding="chunked"), f"{len(large):x}\r\n".encode(), large, b"\r\n0\r\n\r\n"]
    assert b" 413 " in raw(shared_server, *parts).split(b"\r\n")[0]


def test_encoded_bodies_are_refused(shared_server: ServingProcess) -> None:
    assert shared_server.ask("POST", "/v1/chat/completions", b"x", **{"Content-Encoding": "gzip"})[0] == 415


def test_mangled_bodies_never_make_a_fault(shared_server: ServingProcess) -> None:
    generator = random.Random(1)
    good = json.dumps({"messages": HELLO, "max_tokens": 1, "stop": ["a"], "seed": 1, "stream": False}).encode()
    statuses = set()
    for _ in range(300):
        body = bytearray(good)
        for _ in range(generator.randrange(1, 5)):
            place = generator.randrange(len(body))
            body[place : place + generator.randrange(4)] = generator.randbytes(generator.randrange(4))
        statuses.add(shared_server.ask("POST", "/invocations", bytes(body))[0])
    assert statuses <= {200, 400, 404}
    assert {200, 400} <= statuses


@pytest.mark.cve("image-url")
def test_no_image_is_fetched(shared_server: ServingProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as target:
        target.setblocking(False)
        url = f"http://127.0.0.1:{target.getsockname()[1]}/x.png"
        content = [{"type": "image_url", "image_url": {"url": url}}]
        status, _ = shared_server.ask("POST", "/invocations", {"messages": [{"role": "user", "content": content}]})
        assert status == 400
        with pytest.raises(BlockingIOError):
            target.accept()


def test_the_server_is_as_before(shared_server: ServingProcess) -> None:
    until(lambda: shared_server.metric("llmops_running") == 0)
    assert shared_server.chat(max_tokens=2)[0] == 200
    assert not [r for r in shared_server.requests() if r["status"] == 500]
