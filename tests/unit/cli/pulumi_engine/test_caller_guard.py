"""Whose connections the ports of Pulumi's plugins take: real sockets of this user and of another one."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.pulumi_engine import caller_guard
from tests.support.other_users import as_nobody, needs_root


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["ipv4", "ipv6"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family, host = request.param
    with socket.socket(family) as made:
        try:
            made.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        made.listen()
        yield made


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looks for a connection that is not there."""
    monkeypatch.setattr(caller_guard, "_LOOK_SECONDS", 0)


def connected(listener: socket.socket) -> tuple[socket.socket, socket.socket, str]:
    """Both ends of a connection, and the peer's name as gRPC has it."""
    client = socket.create_connection(listener.getsockname()[:2])
    server, address = listener.accept()
    return client, server, named(address)


def named(address: Any) -> str:
    return f"ipv6:%5B{address[0]}%5D:{address[1]}" if ":" in address[0] else f"ipv4:{address[0]}:{address[1]}"


def test_a_connection_of_this_user_is_taken_until_it_is_closed(listener: socket.socket) -> None:
    client, server, peer = connected(listener)
    with client, server:
        assert caller_guard.is_own(peer)
        client.close()  # the kernel lists it for a while, as user 0's
        assert not caller_guard.is_own(peer)


def test_a_mapped_address_of_ipv6_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_INET6) as client:
        try:
            client.connect(("::ffff:127.0.0.1", listener.getsockname()[1]))
        except OSError:
            pytest.skip("this machine has no IPv6")
        server, address = listener.accept()
        with server:
            assert caller_guard.is_own(named(address))


def test_an_own_connection_from_the_same_address_to_another_port_proves_nothing(listener: socket.socket) -> None:
    """Another user may share the address, and close its end after it has sent a call."""
    with socket.socket(listener.family) as elsewhere, socket.socket(listener.family) as own:
        elsewhere.bind((listener.getsockname()[0], 0))
        elsewhere.listen()
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind((listener.getsockname()[0], 0))
        own.connect(elsewhere.getsockname()[:2])
        with socket.socket(listener.family) as theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            theirs.bind(own.getsockname()[:2])
            theirs.connect(listener.getsockname()[:2])
            server, address = listener.accept()
            with server:
                assert address[:2] == own.getsockname()[:2]
                assert caller_guard.is_own(named(address))
                theirs.close()
                assert not caller_guard.is_own(named(address))


@needs_root
def test_a_connection_of_another_user_is_refused(listener: socket.socket) -> None:
    def call() -> str:
        with socket.create_connection(listener.getsockname()[:2]) as client:
            return client.recv(10).decode()

    def serve() -> None:
        server, address = listener.accept()
        with server:
            server.send(str(caller_guard.is_own(named(address))).encode())

    thread = threading.Thread(target=serve)
    thread.start()
    assert as_nobody(call) == "False"
    thread.join()


@pytest.mark.parametrize("peer", ["", "unix:/tmp/socket", "ipv4:127.0.0.1", "ipv4:somewhere:80", "ipv4:127.0.0.1:1"])
def test_a_peer_that_is_not_found_is_refused(peer: str) -> None:
    assert not caller_guard.is_own(peer)


LSOF = """\
#!/bin/sh
echo "$@" >{folder}/asked
printf 'p{pid}\\nu{own}\\nf4\\nn127.0.0.1:6000->127.0.0.1:40000\\n'
printf 'p1\\nu{user}\\nf5\\nn127.0.0.1:40000->127.0.0.1:6000\\n'
printf 'p1\\nu{own}\\nf6\\nn127.0.0.1:40000->127.0.0.1:6001\\nf7\\nn127.0.0.1:40001->127.0.0.1:6001\\n'
"""
"""Writes fields as lsof(8) describes them under OUTPUT FOR OTHER PROGRAMS: both ends of a connection to this process,
and one end each of two to another one.
"""


@pytest.mark.parametrize(("port", "offset", "taken"), [(40000, 0, True), (40000, 1, False), (40001, 0, False)])
def test_where_there_is_no_proc_lsof_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int, offset: int, taken: bool
) -> None:
    program = tmp_path / "lsof"
    own = os.geteuid()
    program.write_text(LSOF.format(folder=tmp_path, pid=os.getpid(), own=own, user=own + offset))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(caller_guard, "_PROC", tmp_path / "none")
    assert caller_guard.is_own(f"ipv4:127.0.0.1:{port}") is taken
    assert (tmp_path / "asked").read_text() == f"-nP -iTCP@127.0.0.1:{port} -sTCP:ESTABLISHED -Fun\n"


def test_without_a_way_to_look_up_a_caller_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(caller_guard, "_PROC", tmp_path / "none")
    assert not caller_guard.is_own("ipv4:127.0.0.1:40000")
