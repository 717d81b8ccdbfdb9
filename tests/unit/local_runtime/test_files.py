"""Locks, atomic writes, ports and the waiting of a program that keeps ending."""

import os
import socket
from pathlib import Path

import pytest

from llmops_kit.core.errors import HostingError
from llmops_kit.local_runtime.child import backoff
from llmops_kit.local_runtime.files import locked, write_atomic
from llmops_kit.local_runtime.ports import choose_port, holder, is_free, require_free


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    with locked(path), pytest.raises(BlockingIOError), locked(path, wait=False):
        pass
    with locked(path, shared=True), locked(path, shared=True, wait=False), pytest.raises(BlockingIOError):  # noqa: SIM117
        with locked(path, wait=False):
            pass
    with locked(path, wait=False):
        pass


def test_a_file_is_replaced_as_a_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_atomic(path, "old")
    old = path.open()
    write_atomic(path, "new")
    with old:
        assert (old.read(), path.read_text()) == ("old", "new")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_ports() -> None:
    port = choose_port("127.0.0.1")
    assert is_free("127.0.0.1", port)
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert port < first_ephemeral
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert not is_free("127.0.0.1", port)
        assert not is_free("0.0.0.0", port)
        assert f"(pid {os.getpid()})" in holder(port)
        with pytest.raises(HostingError, match=rf"endpoint chatbot: port: port {port} on 127.0.0.1 is taken by"):
            require_free("127.0.0.1", port, "chatbot")
    assert holder(port) == ""


def test_the_first_restarts_are_at_once_and_later_ones_wait_longer_up_to_a_limit() -> None:
    waits = [backoff(quick) for quick in range(12)]
    assert waits[:3] == [0, 0, 0]
    assert waits[3:8] == [1, 2, 4, 8, 16]
    assert max(waits) == waits[-1] == 30
