"""Requests to a server that is busy, by a real server."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from contract.errors import BusyError, KitError
from llmops.evaluation.asking import ask_patiently
from tests.support.judges import JudgeServer, judging

REQUEST = {"messages": [{"role": "user", "content": "Hello?"}]}


def ask(server: JudgeServer) -> list[float]:
    """Ask, and return the waits."""
    waits: list[float] = []
    server.reply = "hello"
    reply = ask_patiently(server.url.removesuffix("/v1"), "k", REQUEST, "see to it", lambda _: None, waits.append)
    assert reply["choices"][0]["message"]["content"] == "hello"
    return waits


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    with judging() as server:
        server.refusals = [
            (429, {"Retry-After": "7"}),
            (503, {}),
            (502, {"Retry-After": "soon"}),
            (429, {"Retry-After": in_a_minute}),
            (503, {"Retry-After": "0"}),
        ]
        waits = ask(server)
    assert (waits[0], waits[4]) == (7, 0)
    assert 1.5 <= waits[1] <= 2.5
    assert 3 <= waits[2] <= 5
    assert 0 <= waits[3] <= 60


def test_a_server_is_not_asked_for_ever_and_a_refusal_not_again() -> None:
    with judging() as server:
        server.refusals = [(429, {"Retry-After": "0"})] * 8
        with pytest.raises(BusyError, match="answers 429: come again"):
            ask(server)
        server.refusals = [(429, {"Retry-After": "86400"})]
        with pytest.raises(BusyError):
            ask(server)
        server.refusals = [(401, {})]
        with pytest.raises(KitError, match="answers 401: come again") as caught:
            ask(server)
        assert (caught.value.fix, server.refusals, server.requests) == ("see to it", [], [])
