"""Messages between server and engine."""

import itertools
import socket
from typing import Any, cast

import pytest

from llmops_kit.serving.engines.wire import Channel, Lines, encode
from llmops_kit.serving.engines.worker import EngineBackend, Outbox, Step, run_step


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


def test_tokens_of_a_moment_go_together_and_the_first_and_the_last_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("llmops_kit.serving.engines.worker.time.monotonic", lambda: now[0])
    here, there = socket.socketpair()
    with here, there:
        outbox, server = Outbox(Channel(there)), Channel(here)
        assert outbox.add([(7, [1], None, [])], [7]), "a first token"
        assert server.receive(wait=False) == [{"step": [[7, [1], None, []]], "running": 1}]
        now[0] += 0.019
        assert not outbox.add([(7, [2], None, [])], [7])
        assert server.receive(wait=False) == []
        assert outbox.add([(7, [3], None, []), (8, [1], None, [])], [7, 8])
        assert server.receive(wait=False) == [{"step": [[7, [2, 3], None, []], [8, [1], None, []]], "running": 2}]
        now[0] += 0.021
        outbox.add([(7, [4], None, []), (8, [2], None, [])], [7, 8])
        assert len(server.receive(wait=False)) == 1, "20 ms passed"
        outbox.add([(7, [5], "stop", []), (8, [3], None, [])], [8])
        assert server.receive(wait=False)[0]["step"] == [[7, [5], "stop", []], [8, [3], None, []]]
        outbox.add([], [])
        assert server.receive(wait=False) == [{"step": [], "running": 0}], "what was cancelled is gone"


class _Counting:
    """An engine that gives one request a token a step, three in all."""

    def __init__(self) -> None:
        self._tokens = itertools.count(1)
        self._last = 0

    def step(self) -> list[Step]:
        self._last = next(self._tokens)
        return [(7, [self._last], "length" if self._last == 3 else None, [])]

    def numbers(self) -> list[int]:
        return [7] if self._last < 3 else []


def test_the_engine_leaves_the_server_a_processor_after_a_first_token_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = socket.socketpair()
    with here, there:
        channel, server = Channel(there), Channel(here)
        sent_before_waiting: list[Any] = []
        monkeypatch.setattr(
            "llmops_kit.serving.engines.worker.time.sleep",
            lambda _seconds: sent_before_waiting.extend(server.receive(wait=False)),
        )
        backend, outbox = cast(EngineBackend, _Counting()), Outbox(channel)
        while backend.numbers():
            assert run_step(channel, backend, outbox)
        assert [message["step"][0][1] for message in sent_before_waiting] == [[1]]
        assert [message["step"][0][1] for message in server.receive(wait=False)] == [[2, 3]]
