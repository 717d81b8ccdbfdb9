"""What strangers can hold of the router and of the server: little, and for a short time."""

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from llmops_kit.core.network.api_key import key_digest
from tests.support.servers.router import RouterProcess
from tests.support.servers.serving import API_KEY, ServingProcess, send_all, trickle, until

CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
KEY = f"Authorization: Bearer {API_KEY}\r\n".encode()
FRONTS = ["server", "router"]


class Guarded(NamedTuple):
    """A server, or a router in front of one."""

    port: int
    pid: int
    log: Path


@pytest.fixture(scope="session")
def shared_router(shared_server: ServingProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterProcess]:
    folder = tmp_path_factory.mktemp("router") / "router"
    router = RouterProcess(
        folder, shared_server.url, key_digest(API_KEY), header_seconds=1, read_seconds=2, write_seconds=1
    )
    yield router
    router.kill()


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest, shared_server: ServingProcess) -> Guarded:
    """Both take a key, and cut headers after a second."""
    if request.param == "server":
        return Guarded(shared_server.port, shared_server.process.pid, shared_server.log)
    router = request.getfixturevalue("shared_router")
    return Guarded(router.port, router.process.pid, router.log)


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0))


def ask(front: Guarded, *parts: bytes) -> bytes:
    with connect(front.port) as sock:
        return send_all(sock, *parts)


def status(received: bytes) -> int:
    """Of the last answer; 0 without any."""
    lines = [line for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.")]
    return int(lines[-1].split()[1]) if lines else 0


@pytest.mark.vulnerability(8)
@pytest.mark.scorecard("slow-loris")
@pytest.mark.parametrize("before", [b"", b"\r\n", b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_vulnerability_8_headers_that_trickle_are_cut(front: Guarded, before: bytes) -> None:
    with connect(front.port) as sock:
        sock.sendall(before)
        if before.strip():
            assert status(sock.recv(65536)) == 200
        sock.settimeout(0.2)
        sock.sendall(CHAT)
        sent = trickle(sock)
    assert 0 < sent < 100


@pytest.mark.vulnerability(8)
@pytest.mark.scorecard("header-body-limits")
@pytest.mark.cve("giant-header")
@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (CHAT + KEY + b"X-Long: " + b"a" * 1_000_000 + b"\r\n\r\n", 431),
        (CHAT + KEY + b"X-Long: " + b"a" * 9_000 + b"\r\n\r\n", 431),
        (CHAT + KEY + b"X-Long: " + b"a" * 15_000, 431),
        (CHAT + KEY + b"a" * 1_000_000, 431),
        (CHAT + b"".join(b"X-%d: 1\r\n" % i for i in range(101)) + KEY + b"\r\n", 431),
        (CHAT + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 1000) for i in range(20)) + KEY + b"\r\n", 431),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_vulnerability_8_large_headers_are_431_and_no_traceback(front: Guarded, head: bytes, expected: int) -> None:
    received = ask(front, head)
    assert status(received) == expected
    assert b'{"error": {"message": ' in received
    assert "Traceback" not in front.log.read_text()


@pytest.mark.vulnerability(8)
def test_vulnerability_8_an_expectation_that_is_no_unicode_is_the_clients_fault(shared_server: ServingProcess) -> None:
    front = Guarded(shared_server.port, shared_server.process.pid, shared_server.log)
    assert status(ask(front, CHAT + KEY + b"Expect: \xce\r\n\r\n")) == 417
    assert "Traceback" not in front.log.read_text()


@pytest.mark.scorecard("header-body-limits")
@pytest.mark.cve("giant-body")
@pytest.mark.parametrize("declared", [True, False])
def test_large_bodies_are_413(front: Guarded, declared: bool) -> None:
    large = b'"' + b"x" * 40_000_000
    if declared:
        received = ask(front, CHAT + KEY + b"Content-Length: %d\r\n\r\n" % len(large), large)
    else:
        chunks = (b"%x\r\n%s\r\n" % (len(large) // 40, large[: len(large) // 40]) for _ in range(40))
        received = ask(front, CHAT + KEY + b"Transfer-Encoding: chunked\r\n\r\n", *chunks)
    assert status(received) in (413, 0)  # 0: the rest of the body reset the connection before the answer was read


@pytest.mark.vulnerability(8)
@pytest.mark.scorecard("header-body-limits")
@pytest.mark.cve("giant-body")
def test_vulnerability_8_a_million_chunks_of_a_byte_are_refused(front: Guarded) -> None:
    memory = psutil.Process(front.pid).memory_info().rss
    chunks = b"1\r\nx\r\n" * 20_000
    with connect(front.port) as sock:
        sock.sendall(CHAT + KEY + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(50):
                sock.sendall(chunks)
            received = send_all(sock)
            assert (status(received), received.count(b"HTTP/1.")) in ((413, 1), (408, 1))  # 408: not in time
        except ConnectionError:
            pass  # closed before all was sent
    assert psutil.Process(front.pid).memory_info().rss < memory + 20_000_000


@pytest.mark.vulnerability(8)
def test_vulnerability_8_no_body_is_read_without_the_key(front: Guarded) -> None:
    """300 connections that send a megabyte each took 380 MB."""
    memory = psutil.Process(front.pid).memory_info().rss
    with ExitStack() as stack:
        for _ in range(100):
            sock = stack.enter_context(connect(front.port))
            sock.sendall(CHAT + b"Authorization: Bearer wrong-key-0123456789\r\nContent-Length: 1000000\r\n\r\n")
            sock.setblocking(False)
            with suppress(BlockingIOError, ConnectionError):
                sock.send(b"x" * 990_000)
            sock.settimeout(120)
            with suppress(ConnectionResetError):
                assert status(sock.recv(65536)) == 401
        assert psutil.Process(front.pid).memory_info().rss < memory + 100 * 65536


@pytest.mark.scorecard("slow-loris")
@pytest.mark.vulnerability(8)
def test_vulnerability_8_a_reader_that_does_not_read_is_cut(front: Guarded) -> None:
    """Its answers were kept for as long as it stayed connected."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", front.port))
        sock.sendall(b"GET /chat.js HTTP/1.1\r\nHost: x\r\n\r\n" * 1500)  # 10 MB of answers
        watch = select.poll()
        watch.register(sock, 0)  # errors alone
        assert watch.poll(60_000), "the connection is still open"


@pytest.mark.vulnerability(8)
@pytest.mark.parametrize("kind", FRONTS)
def test_vulnerability_8_connections_are_limited_whole_and_per_address(
    serve: Callable[..., ServingProcess], shared_server: ServingProcess, tmp_path: Path, kind: str
) -> None:
    with ExitStack() as stack:
        if kind == "server":
            port = serve(LLMOPS_MAX_CONNECTIONS="8", LLMOPS_MAX_CONNECTIONS_PER_ADDRESS="5").wait_ready().port
        else:
            router = RouterProcess(
                tmp_path / "router", shared_server.url, max_connections=8, max_connections_per_address=5
            )
            stack.callback(router.kill)
            port = router.port
        first = [stack.enter_context(connect(port)) for _ in range(5)]
        too_many = send_all(stack.enter_context(connect(port)))
        assert (status(too_many), b"your address" in too_many, b"Retry-After: 1" in too_many) == (429, True, True)
        others = [stack.enter_context(connect(port, "127.0.0.2")) for _ in range(3)]
        too_many = send_all(stack.enter_context(connect(port, "127.0.0.3")))
        assert (status(too_many), b"Retry-After: 1" in too_many) == (503, True)
        for sock in (first[-1], others[-1]):
            sock.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status(sock.recv(65536)) == 200
        first[0].close()
        until(lambda: _pings(port))


def _pings(port: int) -> bool:
    with connect(port) as sock:
        try:
            sock.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            return status(sock.recv(65536)) == 200
        except ConnectionError:
            return False


def test_a_server_without_a_key_of_its_own_gets_bodies_without_one(
    shared_server: ServingProcess, tmp_path: Path
) -> None:
    router = RouterProcess(tmp_path / "router", shared_server.url)
    try:
        front = Guarded(router.port, router.process.pid, router.log)
        body = b'{"messages": []}'
        received = ask(front, CHAT + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body), body)
        assert status(received) == 401
        assert b"X-Llmops-Variant" in received, "it was the server's answer"
    finally:
        router.kill()


@pytest.mark.vulnerability(8)
def test_vulnerability_8_whoever_is_refused_needs_not_send_a_body(serve: Callable[..., ServingProcess]) -> None:
    server = serve(LLMOPS_MAX_RUNNING="1", LLMOPS_MAX_QUEUE="0", LLMOPS_READ_SECONDS="600").wait_ready()
    with server.stream(max_tokens=1900) as events, connect(server.port) as sock:
        next(events)
        sock.sendall(CHAT + KEY + b"Content-Length: 1000\r\n\r\n")
        assert status(sock.recv(65536)) == 429


@pytest.mark.vulnerability(8)
def test_vulnerability_8_a_body_that_does_not_fit_its_headers_is_the_clients_fault(front: Guarded) -> None:
    head = CHAT + KEY + b"Transfer-Encoding: chunked\r\n\r\n"
    assert status(ask(front, head + b"5\r\nabcde\r\n", b"zz\r\n")) in (400, 408)  # aiohttp waits for the rest of it
    time.sleep(0.1)
    assert "Traceback" not in front.log.read_text()
    assert "fault" not in front.log.read_text()
