"""The router and two workers that take connections: each answer comes from a worker, on the client's own connection."""

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmops_kit.local_runtime.ports import choose_port
from tests.emulated.local_runtime.conftest import eventually
from tests.support.checkout import IMPORT_PATH
from tests.support.servers.routing import RouterProcess

CONNECTIONS = 300


class Handed:
    """A router and its workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[str, int] = {}
        for name in ("a", "b"):
            (folder / name).mkdir(mode=0o700)
            self._ports[name] = choose_port("127.0.0.1", set(self._ports.values()))
            self.start(name)
        sockets = {f"http://127.0.0.1:{port}": f"{name}/http.sock" for name, port in self._ports.items()}
        self.router = RouterProcess(folder, sockets)
        self.state = self.router.backends
        self.router.wait()

    @property
    def port(self) -> int:
        return self.router.port

    def start(self, name: str) -> None:
        """Start a worker."""
        command = [
            sys.executable,
            "-m",
            "tests.support.servers.taking_worker",
            str(self._ports[name]),
            f"{name}/http.sock",
        ]
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": IMPORT_PATH}
        self.workers[name] = subprocess.Popen(command, cwd=self.folder, env=environ)

    def revive(self) -> None:
        """Start the workers that ended, once the router knows that they did: only then it says when they are back."""
        for name, process in self.workers.items():
            if process.poll() is not None:
                url = f"http://127.0.0.1:{self._ports[name]}"
                eventually(lambda: not any(b["takes_connections"] for b in self.state() if b["url"] == url))  # noqa: B023
                self.start(name)
        self.router.wait()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def stop(self) -> None:
        for process in (self.router, *self.workers.values()):
            process.kill()
        for process in self.workers.values():
            process.wait()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handed]:
    handed = Handed(tmp_path_factory.mktemp("handed"))
    yield handed
    handed.stop()


@pytest.fixture
def handed(running: Handed) -> Handed:
    running.revive()
    return running


def ask(connection: http.client.HTTPConnection, path: str, body: bytes | None = None) -> Any:
    connection.request("POST" if body else "GET", path, body)
    answer = connection.getresponse()
    assert answer.headers["X-Llmops-Variant"] == "v1"
    content = answer.read()
    return json.loads(content) if content.startswith(b"{") else content


def own_port(connection: http.client.HTTPConnection) -> int:
    assert connection.sock
    return connection.sock.getsockname()[1]


def test_one_connection_gets_answers_of_every_worker(handed: Handed) -> None:
    connection = handed.connect()
    answers = [ask(connection, "/who") for _ in range(4)]
    sock = connection.sock
    assert {a["pid"] for a in answers} == {p.pid for p in handed.workers.values()}
    assert {a["peer"] for a in answers} == {own_port(connection)}
    body = os.urandom(1 << 20)
    assert ask(connection, "/echo", body) == body
    connection.request(
        "POST",
        "/who",
        iter([b"x" * 1000] * 5),
        {"Expect": "x", "Connection": "x-mine", "X-Mine": "1"},
        encode_chunked=True,
    )
    seen = json.loads(connection.getresponse().read())["seen"]
    assert "content-length" in seen
    assert not {"transfer-encoding", "x-mine", "connection", "expect"} & set(seen)
    connection.request("HEAD", "/who")
    assert connection.getresponse().read() == b""
    assert ask(connection, "/who")["peer"] == own_port(connection)
    assert connection.sock is sock
    connection.request("GET", "/who", headers={"Connection": "close"})
    assert connection.getresponse().headers["Connection"] == "close"
    connection.close()


def test_what_cannot_be_handed_over_is_relayed(handed: Handed) -> None:
    connection = handed.connect()
    body = os.urandom(32 << 20)
    assert ask(connection, "/echo", body) == body
    assert ask(connection, "/who", bytes(2 << 20))["peer"] != own_port(connection)
    assert ask(connection, "/who")["peer"] == own_port(connection)
    connection.close()
    with socket.create_connection(("127.0.0.1", handed.port), timeout=120) as client:
        client.sendall(b"GET /stream?n=2 HTTP/1.0\r\n\r\n")
        head, _, content = client.makefile("rb").read().partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert content == b"data: 0\n\ndata: 1\n\ndata: end\n\n"


def test_requests_that_come_during_an_answer_are_answered_after_it(handed: Handed, tmp_path: Path) -> None:
    until = tmp_path / "until"
    who = b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", handed.port), timeout=120) as client:
        stream = b"GET /stream?n=1&until=%s HTTP/1.1\r\nHost: x\r\n\r\n" % os.fsencode(until)
        client.sendall(who + who + stream)
        reader = client.makefile("rb")
        while reader.readline() != b"data: 0\n":
            pass
        client.sendall(who + who[:20])  # the worker reads these, and gives them back
        answered = sum(b["requests"] for b in handed.state())
        until.touch()
        while reader.readline() != b"0\r\n":
            pass
        client.sendall(who[20:])
        statuses = 0
        while statuses < 2:
            statuses += reader.readline().startswith(b"HTTP/1.1 200")
    assert sum(b["requests"] for b in handed.state()) == answered + 2


def test_a_worker_that_dies_before_its_first_byte_is_replaced(handed: Handed, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    connection = handed.connect()
    answer = ask(connection, f"/die?flag={flag}", b"x" * 5000)
    assert [p.wait(60) for p in handed.workers.values() if p.pid != answer["pid"]] == [3]
    assert ask(connection, "/who")["pid"] == answer["pid"]
    connection.close()


def test_a_worker_that_dies_in_a_stream_closes_it(handed: Handed) -> None:
    connection = handed.connect()
    errors = sum(b["errors"] for b in handed.state())
    connection.request("GET", "/stream?n=3&until=/never")
    response = connection.getresponse()
    assert response.read1().startswith(b"data: 0")
    [worker] = [p for p in handed.workers.values() if p.pid == int(response.headers["X-Pid"])]
    worker.kill()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        response.read()
    connection.close()
    worker.wait()  # the connection may close before it has ended
    assert sum(b["errors"] for b in handed.state()) == errors + 1


def test_a_client_that_leaves_frees_its_worker(handed: Handed) -> None:
    connection = handed.connect()
    before = [ask(connection, "/who")["left"] for _ in range(2)]
    connection.request("GET", "/stream?n=3&until=/never")
    assert connection.getresponse().read1()
    assert sum(b["in_flight"] for b in handed.state()) == 1
    connection.close()
    eventually(lambda: not any(b["in_flight"] for b in handed.state()))
    connection = handed.connect()
    # The router hears of the end before the worker's app has looked.
    eventually(lambda: sum(ask(connection, "/who")["left"] for _ in range(2)) == sum(before) + 1)
    connection.close()


def test_a_router_that_is_killed_cuts_no_answer(handed: Handed, tmp_path: Path) -> None:
    until = tmp_path / "until"
    connection = handed.connect()
    connection.request("GET", f"/stream?n=1&until={until}")
    response = connection.getresponse()
    assert response.read1() == b"data: 0\n\n"
    handed.router.kill()
    until.touch()
    assert response.read() == b"data: end\n\n"
    connection.close()
    handed.router.start()
    handed.router.wait()


def test_no_descriptor_is_left_of_many_connections(handed: Handed, tmp_path: Path) -> None:
    def files() -> list[int]:
        return [psutil.Process(p.pid).num_fds() for p in (handed.router.process, *handed.workers.values())]

    connection = handed.connect()
    for _ in range(2):
        ask(connection, "/who")
    connection.close()
    eventually(lambda: not any(b["in_flight"] for b in handed.state()))
    before = files()
    until, clients = tmp_path / "until", []
    request = b"GET /stream?n=1&until=%s HTTP/1.1\r\nHost: x\r\n\r\n" % os.fsencode(until)
    for _ in range(CONNECTIONS):
        clients.append(socket.create_connection(("127.0.0.1", handed.port), timeout=120))
        clients[-1].sendall(request)
    eventually(lambda: sum(b["in_flight"] for b in handed.state()) == CONNECTIONS)
    until.touch()
    for number, client in enumerate(clients):
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            received += client.recv(4096)
        if number % 2:  # half of them ask again
            client.sendall(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
        client.close()
    eventually(lambda: all(now <= then + 2 for now, then in zip(files(), before, strict=True)))
