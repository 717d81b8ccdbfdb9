"""The router with real servers behind it: what it passes on, what it holds back, and what it never hides."""

import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmops_kit.core.errors import HostingError
from llmops_kit.local_runtime.endpoint import HostedEndpoint
from llmops_kit.local_runtime.host import Host
from llmops_kit.local_runtime.spec import EndpointSpec, EndpointState

Eventually = Callable[..., None]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, image: str) -> Iterator[Host]:
    """One home for this file; each test brings endpoint `echo` to what it needs."""
    host = Host(tmp_path_factory.mktemp("router") / "home")
    yield host
    host.shutdown()


@pytest.fixture
def echo(home: Host, spec: EndpointSpec) -> EndpointState:
    """An endpoint with two instances of the echo server."""
    return home.apply(spec.model_copy(update={"instances": 2}))


def connect(state: EndpointState) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", state.port, timeout=60)


def get(state: EndpointState, path: str) -> str:
    with urllib.request.urlopen(f"{state.url}{path}", timeout=60) as answer:
        return answer.read().decode()


def backends(home: Host) -> list[dict[str, Any]]:
    state = HostedEndpoint(home._daemon, "echo").router_state()
    assert state
    return state["backends"]


def test_any_method_path_and_body_arrive_unchanged(echo: EndpointState) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        connection = connect(echo)
        connection.request(method, "/a/../%2e%2e//b;c?q=%20&r=a+b", b"\x00body", {"Expect": "x", "X-One": "1"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"\x00body")
        assert answer.headers["X-Path"] == "/a/../%2e%2e//b;c?q=%20&r=a+b"
        assert answer.headers["X-Llmops-Variant"] == echo.variants[0].id
        assert "X-One" in answer.headers["X-Seen"]
        connection.close()


def test_headers_of_one_connection_go_no_further(echo: EndpointState) -> None:
    connection = connect(echo)
    connection.request(
        "GET", "/", headers={"Connection": "keep-alive, X-Mine", "X-Mine": "1", "TE": "trailers", "Upgrade": "h2c"}
    )
    answer = connection.getresponse()
    answer.read()
    connection.close()
    seen = answer.headers["X-Seen"].lower().split(",")
    assert not {"x-mine", "te", "upgrade", "keep-alive"} & set(seen)
    assert "X-Hop" not in answer.headers


def test_answers_without_a_body(echo: EndpointState) -> None:
    connection = connect(echo)
    for _ in range(2):
        connection.request("HEAD", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.read(), answer.headers["Content-Length"]) == (200, b"", "1")
    connection.close()


def test_each_chunk_is_passed_on_when_it_comes(echo: EndpointState) -> None:
    connection = connect(echo)
    connection.request("GET", "/stream?n=3&pause=0.3")
    answer = connection.getresponse()
    assert [answer.read1() for _ in range(3)] == [b"data: 1 0\n\n", b"data: 1 1\n\n", b"data: 1 2\n\n"]
    assert answer.read() == b""
    connection.close()


@pytest.mark.scorecard("kill-worker")
def test_an_answer_cut_in_the_middle_is_cut_for_the_client(echo: EndpointState, home: Host) -> None:
    errors = sum(b["errors"] for b in backends(home))
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        get(echo, "/stream?n=9&die=3")
    assert sum(b["errors"] for b in backends(home)) == errors + 1
    assert get(echo, "/stream?n=1") == "data: 1 0\n\n"


def test_a_request_that_kills_its_worker_is_not_sent_for_ever(home: Host, spec: EndpointSpec) -> None:
    state = home.apply(spec.model_copy(update={"instances": 4}))
    before = {i.pid for i in state.variants[0].instances}
    with pytest.raises(urllib.error.HTTPError, match="502") as caught:
        urllib.request.urlopen(f"{state.url}/die", data=b"x", timeout=60)
    caught.value.close()
    assert len(before - {i.pid for i in home.state("echo").variants[0].instances}) <= 3


def test_a_client_that_leaves_ends_its_request(echo: EndpointState, home: Host, eventually: Eventually) -> None:
    connection = connect(echo)
    connection.request("GET", "/stream?n=100000&pause=0.01")
    assert connection.getresponse().read1()
    connection.close()
    eventually(lambda: not any(b["in_flight"] for b in backends(home)))
    urls = [b["url"] for b in backends(home)]

    def cancelled() -> int:
        return sum(int(urllib.request.urlopen(f"{url}/cancelled").read()) for url in urls)

    eventually(lambda: cancelled() == 1)


def test_a_slow_reader_holds_up_its_own_worker_only_and_no_memory(echo: EndpointState) -> None:
    slow = socket.create_connection(("127.0.0.1", echo.port))
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.sendall(b"GET /stream?n=2000&size=100000&pause=0 HTTP/1.1\r\nHost: x\r\n\r\n")
    used = psutil.Process(echo.router_pid).memory_info().rss
    for _ in range(20):
        assert get(echo, "/stream?n=5").count("data:") == 5
    assert psutil.Process(echo.router_pid).memory_info().rss < used + 50_000_000
    slow.close()


def test_requests_spread_over_instances(echo: EndpointState, home: Host) -> None:
    before = {b["url"]: b["requests"] for b in backends(home)}
    for _ in range(10):
        get(echo, "/x")
    assert sorted(b["requests"] - before[b["url"]] for b in backends(home)) == [5, 5]
    assert all(b["ttft_ms"] > 0 for b in backends(home))


def test_a_long_body_is_streamed_and_a_longer_one_refused(echo: EndpointState) -> None:
    body = os.urandom(20 << 20)
    connection = connect(echo)
    connection.request("POST", "/", body)
    assert connection.getresponse().read() == body
    connection.request("POST", "/", iter([body[: 1 << 20]] * 5), encode_chunked=True)
    assert connection.getresponse().read() == body[: 1 << 20] * 5
    connection.close()
    connection = connect(echo)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_long_chunked_body_is_refused_once_it_is_too_long(echo: EndpointState) -> None:
    with socket.create_connection(("127.0.0.1", echo.port), timeout=60) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer = b""
        try:
            for _ in range(40):
                client.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
            answer = client.recv(100)
        except ConnectionError:
            answer = answer or b"HTTP/1.1 413 reset"
        assert answer.startswith(b"HTTP/1.1 413")


def most_memory(pid: int) -> int:
    """The most bytes of memory that a process has had."""
    return 1024 * int(re.findall(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())[0])


def received(client: socket.socket) -> str:
    """The head of an answer; empty if the connection was closed with unread content."""
    try:
        return re.sub(r"(?m)^Date: .*$", "", client.recv(4096).decode().partition("\r\n\r\n")[0])
    except ConnectionError:
        return ""


@pytest.mark.scorecard("router-memory")
def test_bodies_together_take_bounded_memory_and_short_requests_pass(
    echo: EndpointState, eventually: Eventually, request: pytest.FixtureRequest
) -> None:
    """300 clients send a megabyte less its last byte, so that the router must hold what it has taken of each."""
    before = most_memory(echo.router_pid)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    clients: list[socket.socket] = []
    for _ in range(300):
        clients.append(socket.create_connection(("127.0.0.1", echo.port), timeout=60))
        request.addfinalizer(clients[-1].close)
    for client in clients:
        with contextlib.suppress(ConnectionError):  # it was refused already
            client.sendall(head + bytes(999_999))
    answered: set[socket.socket] = set()

    def refused() -> bool:
        answered.update(select.select(clients, [], [], 0)[0])
        return len(answered) > 200

    eventually(refused)
    texts = [received(client) for client in answered]
    (text,) = {text for text in texts if text}
    assert text.startswith("HTTP/1.1 503 ")
    assert "Retry-After: 5" in text
    # 64 MiB, and of each connection 64 KiB that aren't counted and what aiohttp reads ahead; all bodies are 300 MB.
    assert most_memory(echo.router_pid) < before + 150_000_000
    connection = connect(echo)
    connection.request("POST", "/", b"short")
    assert connection.getresponse().read() == b"short"
    connection.close()
    for client in clients:
        client.close()
    body = os.urandom(900_000)

    def answers() -> bool:
        connection = connect(echo)
        connection.request("POST", "/", body)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return (answer.status, text) == (200, body)

    eventually(answers)


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: 1\r\n" % i for i in range(1000)) + b"\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_is_no_request_for_a_path_is_refused(echo: EndpointState, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", echo.port), timeout=60) as client:
        client.sendall(head)
        assert re.match(rb"HTTP/1.[01] 4\d\d ", client.recv(100))


@pytest.mark.scorecard("kill-worker")
def test_a_restarted_router_has_its_routes(home: Host, echo: EndpointState, eventually: Eventually) -> None:
    os.kill(echo.router_pid, signal.SIGKILL)
    eventually(lambda: home.state("echo").ready and home.state("echo").router_pid != echo.router_pid)
    assert get(home.state("echo"), "/x") == "1"
    assert home.state("echo").variants == echo.variants


def test_a_worker_that_says_it_is_not_ready_gets_no_requests(
    home: Host, spec: EndpointSpec, tmp_path: Path, eventually: Eventually
) -> None:
    ready = tmp_path / "ready"
    ready.touch()
    state = home.apply(spec.model_copy(update={"environ": {"READY_FILE": str(ready)}}))
    ready.unlink()
    eventually(lambda: not home.state("echo").ready)
    result: list[str] = []
    waiting = threading.Thread(target=lambda: result.append(get(state, "/x")))
    waiting.start()
    time.sleep(0.3)
    assert result == []
    ready.touch()
    waiting.join()
    assert result == ["1"]


def test_an_endpoint_without_a_healthy_worker_says_so_after_its_time(
    home: Host, spec: EndpointSpec, tmp_path: Path, eventually: Eventually
) -> None:
    ready = tmp_path / "ready"
    ready.touch()
    state = home.apply(spec.model_copy(update={"environ": {"READY_FILE": str(ready)}}))
    ready.unlink()
    eventually(lambda: not home.state("echo").ready)
    with pytest.raises(urllib.error.HTTPError, match="503") as caught:
        get(state, "/x")
    assert caught.value.headers["Retry-After"] == "5"
    assert json.load(caught.value)["error"]["message"] == "no instance of echo is ready"
    caught.value.close()


def test_routes_that_do_not_validate_change_nothing(home: Host, echo: EndpointState) -> None:
    endpoint = HostedEndpoint(home._daemon, "echo")
    with pytest.raises(ValueError, match="weight"):
        endpoint._admin("PUT", "/routes", '{"schema": "routes/1", "variants": {"v1": {"weight": -1, "backends": []}}}')
    assert home.state("echo") == echo


def test_a_request_is_finished_when_its_router_is_told_to_end(
    home: Host, echo: EndpointState, eventually: Eventually
) -> None:
    connection = connect(echo)
    connection.request("GET", "/stream?n=50&pause=0.02")
    answer = connection.getresponse()
    answer.read1()
    os.kill(echo.router_pid, signal.SIGTERM)
    assert answer.read().count(b"data:") >= 48
    connection.close()
    eventually(lambda: home.state("echo").ready)


def test_stopping_finishes_streams(home: Host, echo: EndpointState) -> None:
    connection = connect(echo)
    connection.request("GET", "/stream?n=50&pause=0.02")
    answer = connection.getresponse()
    answer.read1()
    home.stop("echo")
    assert answer.read().count(b"data:") >= 48
    connection.close()
    with pytest.raises((urllib.error.URLError, HostingError)):
        get(echo, "/x")
