"""Asking an endpoint that takes no request for a while, with a server that refuses as often as it is told."""

import io
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from llmops_kit.cli.commands import endpoint, print_error
from llmops_kit.cli.context import Context
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.core.documents.outputs import EndpointOutput
from llmops_kit.core.errors import BusyError, KitError
from tests.support.checkout import CHECKOUT
from tests.support.servers.http_servers import serving


class Server(HTTPServer):
    """Answers with the statuses that it is told, one after the other, and then with what it was asked last."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses: list[int] = []
        self.bodies: list[dict[str, Any]] = []
        self.pieces: list[str] = []
        """Of each answer; empty: what was asked."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Server)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        pieces = self.server.pieces or [f"heard {body['messages'][-1]['content']}"]
        self.send_response(status)
        self.end_headers()
        if status != 200:
            answer = json.dumps({"error": {"message": f"the server is loading{''.join(self.server.pieces)}"}})
        elif body.get("stream"):
            chunks = [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
            answer = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        elif tools := body.get("tools"):
            call = {"type": "function", "function": {"name": tools[0]["function"]["name"], "arguments": '{"on": true}'}}
            answer = json.dumps({"choices": [{"message": {"content": None, "tool_calls": [call]}}]})
        else:
            answer = json.dumps({"choices": [{"message": {"content": "".join(pieces)}}]})
        self.wfile.write(answer.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(endpoint, "_PAUSE_SECONDS", 0.01)
    with serving(Server()) as server:
        yield server


@pytest.fixture
def context(server: Server, platform: LocalPlatform, tmp_path: Path) -> typer.Context:
    """Of a stack with one endpoint, at the server."""
    (tmp_path / "chat.key").write_text("sk-key\n")
    model = {"model": f"chatbot@3@sha256:{'a' * 64}", "sha256": "a" * 64, "image": ""}
    place = {"key": str(tmp_path / "chat.key"), "url": f"http://127.0.0.1:{server.server_port}"}
    platform.outputs.endpoints["chat"] = EndpointOutput.model_validate({**model, **place})
    here = Context()
    here.platform = platform
    return typer.Context(typer.main.get_command(_app()), obj=here)


def _app() -> typer.Typer:
    app = typer.Typer()
    endpoint.register(app)
    return app


def test_a_question_waits_for_a_server_that_starts(
    server: Server, context: typer.Context, capsys: pytest.CaptureFixture[str]
) -> None:
    server.statuses = [503, 503, 429]
    endpoint.invoke(context, ["hello"])
    out, err = capsys.readouterr()
    assert out == "heard hello\n"
    assert [line for line in err.splitlines() if "503" in line] == [
        "chat answers 503: the server is loading; trying again for a minute"
    ]
    assert "429" in err


def test_patience_ends(server: Server, context: typer.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    half_minutes = count(0.0, 30.0)
    clock = SimpleNamespace(monotonic=lambda: next(half_minutes), sleep=lambda _: None)
    monkeypatch.setattr(endpoint, "time", clock)
    server.statuses = [503] * 10_000
    with pytest.raises(BusyError, match="the server is loading"):
        endpoint.invoke(context, ["hello"])
    assert len(server.bodies) == 3


def test_what_does_not_pass_is_not_asked_again(server: Server, context: typer.Context) -> None:
    server.statuses = [400]
    with pytest.raises(KitError, match="answers 400"):
        endpoint.invoke(context, ["hello"])
    assert len(server.bodies) == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_conversation_goes_on_after_an_error_without_its_question(
    server: Server, context: typer.Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.statuses = [200, 400, 200]
    monkeypatch.setattr("sys.stdin", Terminal("one\ntwo\nthree\n"))
    endpoint.chat(context)
    out, err = capsys.readouterr()
    assert "heard three" in out
    assert "answers 400" in err
    assert [m["content"] for m in server.bodies[-1]["messages"]] == ["one", "heard one", "three"]


def test_an_answer_that_was_stopped_before_its_first_word_was_not_asked_for(
    server: Server, context: typer.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(endpoint.time, "sleep", stop)
    server.statuses = [503]
    monkeypatch.setattr("sys.stdin", Terminal("one\ntwo\n"))
    endpoint.chat(context)
    assert [m["content"] for m in server.bodies[-1]["messages"]] == ["two"]


def test_without_a_terminal_an_error_ends_it(
    server: Server, context: typer.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.statuses = [400]
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n"))
    with pytest.raises(KitError, match="answers 400"):
        endpoint.chat(context)
    assert len(server.bodies) == 1


HOSTILE = [
    "red \x1b",
    "[31m",
    "title \x1b]0;",
    "owned\x07",
    "\x9b2J",
    "back\x08\r",
    "\u202eevil\u2069",
    "\x7f",
    "\udc80",
]


def is_harmless(text: str) -> bool:
    """Nothing in it but a terminal's text."""
    return all(c in "\n\t" or (c.isprintable() and c not in "\u202e\u2069") or c == "\u3000" for c in text)


@pytest.mark.vulnerability(14)
def test_vulnerability_14_no_control_characters_of_a_model_reach_the_terminal(
    server: Server, context: typer.Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.pieces = [*HOSTILE, "tab\t and\nline, 世界 🙂"]
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n"))
    endpoint.chat(context)
    assert server.bodies[-1]["messages"][1]["content"] == "".join(server.pieces), "the conversation is as it was"
    endpoint.invoke(context, ["hello"])
    shown = capsys.readouterr().out
    assert shown.count(r"title \u001b]0;owned\u0007\u009b2Jback\u0008\u000d\u202eevil\u2069\u007f\udc80") == 3
    assert shown.count("tab\t and\nline, 世界 🙂") == 3
    assert is_harmless(shown)
    endpoint.invoke(context, ["hello"], as_json=True)
    shown = capsys.readouterr().out
    assert is_harmless(shown)
    assert json.loads(shown)["choices"][0]["message"]["content"] == "".join(server.pieces)


@pytest.mark.vulnerability(14)
def test_vulnerability_14_no_control_characters_of_a_log_or_an_error_reach_the_terminal(
    server: Server, context: typer.Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.pieces, server.statuses = HOSTILE, [503, 400]
    with pytest.raises(KitError) as caught:
        endpoint.invoke(context, ["hello"])
    print_error(caught.value)
    lines = iter(["--- chat: \x1b[2J\x1b]52;c;AAAA\x07\n"])
    monkeypatch.setattr(context.obj.platform, "logs", lambda _endpoint, _follow: lines)
    endpoint.logs(context)
    shown = "".join(capsys.readouterr())
    assert shown.count(r"title \u001b]0;owned") == 2
    assert r"--- chat: \u001b[2J\u001b]52;c;AAAA\u0007" in shown
    assert is_harmless(shown)


def test_each_line_of_a_log_is_an_object_with_json(
    context: typer.Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["--- chat\n", '{"request": "r1", "status": 200}\n', "[1]\n", "\x1b[2J" + "[" * 5000 + "\n"]
    monkeypatch.setattr(context.obj.platform, "logs", lambda _endpoint, _follow: iter(lines))
    endpoint.logs(context, as_json=True)
    shown = capsys.readouterr().out
    found = [json.loads(line) for line in shown.splitlines()]
    assert found == [
        {"line": "--- chat"},
        {"request": "r1", "status": 200},
        {"line": "[1]"},
        {"line": "\x1b[2J" + "[" * 5000},
    ]
    assert is_harmless(shown)


def test_an_answers_calls_of_a_recipes_tools_are_printed(
    context: typer.Context, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = CHECKOUT / "recipes/assistant.yaml"
    endpoint.invoke(context, ["hello"], tools=recipe)
    assert capsys.readouterr().out == 'weather_now {"on": true}\n'
    assert [tool["function"]["name"] for tool in server.bodies[0]["tools"]] == ["weather_now", "order_status"]
    with pytest.raises(KitError) as caught:
        endpoint.invoke(context, ["hello"], tools=CHECKOUT / "recipes/rehearsal.yaml")
    assert "page.tools" in caught.value.where
