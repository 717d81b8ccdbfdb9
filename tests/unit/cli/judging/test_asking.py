"""Requests to a server that is busy, by a real server."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from llmops_kit.cli.judging.asking import ask_patiently, request_messages
from llmops_kit.core.errors import BusyError, KitError
from llmops_kit.serving.api.openai import parse_chat
from llmops_kit.training.data.rows import row_of
from tests.support.runs.judges import JudgeServer, judging

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


@pytest.mark.parametrize("named", [True, False], ids=["with ids", "without"])
def test_a_rows_calls_are_sent_in_a_form_that_servers_take(named: bool) -> None:
    def identified(key: str, value: str) -> dict[str, str]:
        return {key: value} if named else {}

    calls = [
        {"function": {"name": name, "arguments": {"city": city}}, **identified("id", city)}
        for name, city in (("fare", "Köln"), ("hour", "Kiel"), ("fare", "Ulm"))
    ]
    results = [
        {"role": "tool", "name": name, "content": "7", **identified("tool_call_id", city)}
        for name, city in (("hour", "Kiel"), ("fare", "Köln"), ("fare", "Ulm"))
    ]
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": calls}, *results]
    row = row_of({"messages": [*turns, {"role": "assistant", "content": "7"}]}, "a:1")
    sent = request_messages(row.prompt)
    parse_chat(json.dumps({"messages": sent}).encode()).check()
    made = [(call["id"], json.loads(call["function"]["arguments"])["city"]) for call in sent[1]["tool_calls"]]
    assert [city for _, city in made] == ["Köln", "Kiel", "Ulm"]
    assert [message["tool_call_id"] for message in sent[2:]] == [made[1][0], made[0][0], made[2][0]]
    assert len(dict(made)) == 3
