"""The twin's server: what others route through it, bodies left unread, answers in pieces, clients that leave."""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from llmops_kit.core.twins import key_headers
from llmops_twins.aws.calls import ApiCall, Deferred, Streaming
from llmops_twins.aws.request_pipeline import AwsFront
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.aws.wire.handler import AwsRequestHandler
from llmops_twins.core.control import own_key
from tests.support.clouds.twin_keys import root_keys, signed


class Served:
    """A twin with a few routes of these tests, on a port."""

    def __init__(self, home: Path) -> None:
        self.twin = AccountTwin(home)
        self.closed = threading.Event()
        self.next_piece = threading.Event()
        self.twin.route("/told/*/length", self._length)
        self.twin.route("/told/unread", lambda e, start: Response("unread", 413)(e, start))
        self.twin.route("/told/pieces", lambda e, start: Response(self._pieces())(e, start))
        self.twin.route("/told/broken", lambda e, start: Response(self._broken())(e, start))
        self.twin.route("/told/generated", self._generated)
        self.twin.route("/told/never", lambda e, start: Response(self._pieces_of_none())(e, start))
        self.twin.route("/told/endless", lambda e, start: Response(self._endless())(e, start))
        self.server = make_server("127.0.0.1", 0, AwsFront(self.twin), threaded=True, request_handler=AwsRequestHandler)
        self.port = self.server.server_port

    def _length(self, environ: dict[str, Any], start: Any) -> Any:
        with Request(environ).stream as body:
            return Response(str(sum(iter(lambda: len(body.read(1000)), 0))))(environ, start)

    def _pieces(self) -> Iterator[bytes]:
        yield b"first"
        assert self.next_piece.wait(60)
        yield b"second"

    def _broken(self) -> Iterator[bytes]:
        yield b"first"
        raise ConnectionAbortedError("cut")

    def _generated(self, environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", [("X-Path", environ["PATH_INFO"])])
        yield b"one"
        yield b"two"

    def _pieces_of_none(self) -> "NoPieces":
        return NoPieces(self.closed)

    def _endless(self) -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
        finally:
            self.closed.set()


class NoPieces:
    """Breaks off before the first piece."""

    def __init__(self, closed: threading.Event) -> None:
        self._closed = closed

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        raise ConnectionAbortedError("cut")

    def close(self) -> None:
        self._closed.set()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    it = Served(tmp_path_factory.mktemp("twin"))
    thread = threading.Thread(target=it.server.serve_forever, args=[0.02])
    thread.start()
    yield it
    it.server.shutdown()
    thread.join()
    it.server.server_close()


@pytest.fixture
def client(served: Served) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)) as connection:
        yield connection


def said(client: http.client.HTTPConnection, *request: Any, **more: Any) -> tuple[int, bytes]:
    client.request(*request, **more)
    answer = client.getresponse()
    return answer.status, answer.read()


def test_a_routed_body_is_read_by_who_is_routed_to(client: http.client.HTTPConnection) -> None:
    assert said(client, "PUT", "/told/a/length", b"x" * 3_000_000) == (200, b"3000000")
    kept = client.sock
    assert said(client, "PUT", "/told/b/length", iter([b"x" * 70_000] * 9), encode_chunked=True) == (200, b"630000")
    assert said(client, "GET", "/told/c/length") == (200, b"0")
    assert client.sock is kept


@pytest.mark.parametrize("chunked", [False, True])
def test_what_nobody_read_is_not_the_next_request(
    client: http.client.HTTPConnection, served: Served, chunked: bool
) -> None:
    client.connect()
    kept = client.sock
    for _ in range(2):
        body: Any = iter([b"GET /_twin/health HTTP/1.1\r\n\r\n"] * 5) if chunked else b"x" * 500_000
        assert said(client, "PUT", "/told/unread", body, encode_chunked=chunked) == (413, b"unread")
        assert said(client, "GET", "/_twin/health", headers=key_headers(own_key(served.twin.home)))[0] == 200
    assert client.sock is kept


def test_a_large_body_that_nobody_reads_ends_the_connection(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        connection.sendall(b"PUT /told/unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000000\r\n\r\n")
        connection.sendall(b"x" * 2_000_000)
        answer = b"".join(iter(lambda: _received(connection), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except ConnectionResetError:
        return b""


def test_pieces_are_sent_when_they_are_there(client: http.client.HTTPConnection, served: Served) -> None:
    client.request("GET", "/told/pieces")
    answer = client.getresponse()
    assert answer.read1() == b"first"
    served.next_piece.set()
    assert answer.read() == b"second"
    assert said(client, "GET", "/_twin/health", headers=key_headers(own_key(served.twin.home)))[0] == 200


def test_a_client_of_http_1_0_reads_to_the_end(served: Served) -> None:
    served.next_piece.set()
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        connection.sendall(b"GET /told/pieces HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert answer.endswith(b"\r\n\r\nfirstsecond")


def test_an_answer_cut_half_way_is_seen_to_be_cut(client: http.client.HTTPConnection) -> None:
    client.request("GET", "/told/broken")
    answer = client.getresponse()
    with pytest.raises(http.client.IncompleteRead) as cut:
        answer.read()
    assert cut.value.partial == b"first"


def test_an_answer_cut_before_its_first_piece_is_ended_too(client: http.client.HTTPConnection, served: Served) -> None:
    served.closed.clear()
    client.request("GET", "/told/never")
    answer = client.getresponse()
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    assert served.closed.wait(60)


def test_an_application_may_begin_late(client: http.client.HTTPConnection) -> None:
    client.request("GET", "/told/generated")
    answer = client.getresponse()
    assert (answer.read(), answer.headers["X-Path"]) == (b"onetwo", "/told/generated")


def test_pieces_end_when_the_client_leaves(client: http.client.HTTPConnection, served: Served) -> None:
    served.closed.clear()
    client.request("GET", "/told/endless")
    answer = client.getresponse()
    assert answer.read(1000) == b"x" * 1000
    answer.close()
    client.close()
    assert served.closed.wait(60)


def test_deferred_work_holds_no_lock(client: http.client.HTTPConnection, served: Served) -> None:
    working, go_on = threading.Event(), threading.Event()

    def work(_socket: Any) -> Streaming:
        working.set()
        assert go_on.wait(60)
        return Streaming([b"done"], {"X-Of-Test": "yes"})

    def answer(_call: ApiCall) -> Deferred:
        return Deferred(work)

    served.twin.implement("sagemaker-runtime", "InvokeEndpoint", answer)
    url, keys = f"http://127.0.0.1:{served.port}/endpoints/e/invocations", tuple(root_keys(served.twin.home).values())
    headers = signed("POST", url, "sagemaker", keys, body=b"{}")
    client.request("POST", "/endpoints/e/invocations", b"{}", headers)
    assert working.wait(60)
    assert served.twin.lock.acquire(timeout=60)
    served.twin.lock.release()
    go_on.set()
    answered = client.getresponse()
    assert (answered.read(), answered.headers["X-Of-Test"]) == (b"done", "yes")
