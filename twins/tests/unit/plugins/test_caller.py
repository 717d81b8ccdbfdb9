"""Whose environment an attached plugin works with: the one of the process at the other end of its connection."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmops_twins.plugins.caller import environment_of
from llmops_twins.plugins.plugin import ProviderError
from tests.support.other_users import as_nobody, needs_root

CLIENT = """
import socket, sys
ends = [socket.socket() for _ in sys.argv[2:]]
for end, port in zip(ends, sys.argv[2:]):
    end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    end.bind(("127.0.0.1", int(sys.argv[1])))
    end.connect(("127.0.0.1", int(port)))
print("connected", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def client(port: int, server: socket.socket, name: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(port), str(server.getsockname()[1])],
        env={"CALLER": name},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "connected\n"
    return process


def end(process: "subprocess.Popen[str]") -> None:
    process.communicate()


def test_of_two_processes_with_the_same_port_the_connected_one_is_meant(server: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        # The other server is no concern of this process: it hands its end of the connection to nobody.
        elsewhere = client(port, other, "elsewhere")
        here = client(port, server, "here")
        connection, (host, peer) = server.accept()
        with connection:
            assert environment_of(f"ipv4:{host}:{peer}")["CALLER"] == "here"
        end(here)
        end(elsewhere)


def test_nobody_is_taken_for_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmops_twins.plugins.caller._LOOK_SECONDS", 0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(ProviderError, match="can't determine the owner"):
        environment_of(f"ipv4:127.0.0.1:{port}")


@needs_root
@pytest.mark.vulnerability(3)
def test_vulnerability_3_the_engine_of_another_user_is_nobodys_caller(server: socket.socket) -> None:
    """A plugin of root could read every engine's environment, and one without credentials was the twin's root."""
    port = server.getsockname()[1]
    server.settimeout(120)  # a child that fails must not leave `accept` waiting

    def refused() -> str:
        connection, (host, peer) = server.accept()
        with connection, pytest.raises(ProviderError) as error:
            environment_of(f"ipv4:{host}:{peer}")
        return str(error.value)

    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(refused)

        def connect() -> bool:
            with socket.socket() as mine:  # create_connection would import a codec, which that user may not read
                mine.connect(("127.0.0.1", port))
                return not mine.recv(1)  # until the other side has looked

        assert as_nobody(connect)
        assert (
            told.result(120) == "the engine belongs to another user (uid 65534): the plugin works for the twin's owner"
        )
