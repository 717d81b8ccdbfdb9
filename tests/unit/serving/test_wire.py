"""Messages between server and engine."""

import socket

import pytest

from serving.engines.wire import Channel, Lines, encode


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_messages_survive_any_cutting(size: int) -> None:
    messages = [{"step": [[1, [2, 3], None, []]], "running": 1}, {"failed": "line\nbreak"}, {"cancel": 4}]
    data = b"".join(map(encode, messages))
    lines = Lines()
    found = [m for i in range(0, len(data), size) for m in lines.feed(data[i : i + size])]
    assert found == messages


def test_the_engine_takes_all_that_has_come_and_does_not_wait_without_need() -> None:
    here, there = socket.socketpair()
    with here, there:
        channel = Channel(there)
        assert channel.receive(wait=False) == []
        here.sendall(encode({"add": [0, {}]}) + encode({"cancel": 0})[:4])
        assert channel.receive(wait=True) == [{"add": [0, {}]}]
        here.sendall(encode({"cancel": 0})[4:])
        assert channel.receive(wait=True) == [{"cancel": 0}]
        here.close()
        with pytest.raises(EOFError):
            channel.receive(wait=False)
