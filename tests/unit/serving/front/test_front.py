"""The front around an app of a few lines: what it lets pass, what it answers itself, and in which form."""

import asyncio
import gc
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.documents.model import EmbeddingForm
from llmops_kit.core.limits import RequestLimits
from llmops_kit.core.network.api_key import key_digest
from llmops_kit.core.network.http_guard import error_body
from llmops_kit.serving.api.openai import parse_chat, parse_completion, parse_embedding
from llmops_kit.serving.api.responses import parse_responses
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.front import Front
from llmops_kit.serving.front.exchange import EXCHANGE, Receive, Scope, Send
from llmops_kit.serving.front.readiness import Readiness
from llmops_kit.serving.metrics import Metrics
from llmops_kit.serving.server_settings import ServerSettings
from tests.support.servers.in_process import KEY, Asking
from tests.support.servers.vllm_stand_in import as_loaded

BODY = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}).encode()
CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS = (
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings",
)  # fmt: skip
PARSERS: dict[str, Callable[[bytes], Any]] = {
    COMPLETIONS: parse_completion, RESPONSES: parse_responses, EMBEDDINGS: parse_embedding,
}  # fmt: skip


async def parsing(scope: Scope, receive: Receive, send: Send) -> None:
    """An engine's app: says what it got."""
    body = (await receive())["body"] if scope["method"] == "POST" else b""
    if body:
        PARSERS.get(scope["path"], parse_chat)(body)
    scope[EXCHANGE].usage.read(3)
    scope[EXCHANGE].usage.generated(4)
    await scope[EXCHANGE].answer_json(200, {"path": scope["path"], "body": body.decode(errors="replace")})


def front(app: Any = parsing, keys: dict[str, Any] | None = None, **limits: Any) -> Front:
    settings = ServerSettings(Path(), "", api_key=KEY, limits=RequestLimits(**limits), **keys or {})
    readiness = Readiness(phase="ready", open=True, model={"model": "tiny@1"})
    return Front(app, settings, Metrics(), readiness)


def ask(server: Front, *arguments: Any, **headers: str) -> Asking:
    async def asked() -> Asking:
        return await Asking(*arguments, **headers).by(server)

    return asyncio.run(asked())


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/invocations", "/"])
def test_three_contracts_reach_the_apps_one_route(path: str) -> None:
    asked = ask(front(), "POST", path, BODY)
    assert json.loads(asked.body) == {"path": "/v1/chat/completions", "body": BODY.decode()}
    assert len(asked.headers["x-request-id"]) == 32
    assert (asked.headers["cache-control"], asked.headers["x-content-type-options"]) == ("no-store", "nosniff")


@pytest.mark.parametrize(
    ("request_", "status", "type_", "code"),
    [
        (("POST", "/v1/chat/completions", BODY, "wrong"), 401, "authentication_error", "invalid_api_key"),
        (("GET", "/docs"), 404, "invalid_request_error", "not_found"),
        (("GET", "/v1/chat/completions"), 405, "invalid_request_error", "method_not_allowed"),
        (("POST", "/invocations", b"x" * 2000), 413, "invalid_request_error", "body_too_large"),
        (("POST", "/invocations", b"{"), 400, "invalid_request_error", "invalid_json"),
    ],
)
def test_errors_have_one_form_whose_type_is_a_kind(request_: tuple[Any, ...], status: int, type_: str, code: str):
    asked = ask(front(max_body=1024), *request_)
    error = json.loads(asked.body)["error"]
    assert (asked.status, error["type"], error["code"]) == (status, type_, code)
    assert error.keys() == {"message", "type", "param", "code"}
    assert error_body(503, "")["error"]["type"] == "server_error"


def test_until_it_is_ready_nothing_is_asked_of_the_app() -> None:
    server = front(app=None)
    server.readiness.enter("verifying", lambda: 0.5)
    server.readiness.open = False
    ping = ask(server, "GET", "/ping", key="")
    state = json.loads(ping.body)
    assert (ping.status, state["status"], state["progress"]) == (503, "verifying", 0.5)
    chat = ask(server, "POST", "/invocations", BODY)
    assert (chat.status, chat.headers["retry-after"]) == (503, "1")
    assert ask(server, "GET", "/", key="").status == 200


@pytest.mark.parametrize("engine", ["own", "vllm"])
def test_health_answers_as_ping_does(engine: str, of_vllm: Front) -> None:
    server = front() if engine == "own" else of_vllm
    told = [ask(server, "GET", path, key="") for path in ("/ping", "/health")]
    assert [(each.status, each.body) for each in told] == [(200, told[0].body)] * 2
    assert json.loads(told[0].body)["status"] == "ready"
    assert ask(server, "HEAD", "/health", key="").status == 200
    server.readiness.enter("stopping")
    stopping = ask(server, "GET", "/health", key="")
    assert (stopping.status, json.loads(stopping.body)["status"]) == (503, "stopping")
    assert ask(server, "POST", "/health", b"{}").status == 405


def test_a_health_check_is_no_request_of_the_metrics_or_the_log(capsys) -> None:
    server = front()
    server.readiness.open = False
    assert ask(server, "GET", "/ping", key="").status == 503
    assert ask(server, "GET", "/health", key="").status == 503
    assert capsys.readouterr().out == ""
    assert ask(server, "POST", "/invocations", BODY).status == 503
    metrics = ask(server, "GET", "/metrics").body.decode()
    assert 'route="/ping"' not in metrics
    assert 'route="/health"' not in metrics
    assert 'llmops_requests_total{route="/invocations",status="503"} 1.0' in metrics


def test_each_key_has_its_name_in_the_log_and_its_budget_and_metrics_a_key_of_their_own(tmp_path: Path, capsys) -> None:
    key = {"name": "team-a", "sha256": key_digest("key-of-team-a-0123"), "tokens_per_day": 7}
    (tmp_path / "keys.json").write_text(json.dumps({"schema": "keys/1", "keys": [key]}))
    server = front(keys={"api_keys_file": tmp_path / "keys.json", "metrics_key": "scrape-key-0123456789"})
    assert ask(server, "POST", "/invocations", BODY, key="key-of-team-a-0123").status == 200
    line = json.loads(capsys.readouterr().out)
    assert (line["key"], line["prompt_tokens"] + line["completion_tokens"]) == ("team-a", 7)
    refused = Asking("POST", "/invocations", BODY, key="key-of-team-a-0123")
    asyncio.run(refused.by(server))
    assert (refused.status, refused.unread) == (429, 2)  # before its body was read
    assert ask(server, "POST", "/invocations", BODY).status == 200
    assert ask(server, "GET", "/metrics").status == 401
    metrics = ask(server, "GET", "/metrics", key="scrape-key-0123456789")
    assert b'llmops_requests_total{route="/invocations",status="429"} 1.0' in metrics.body


def test_of_a_key_that_has_expired_the_log_says_so(tmp_path: Path, capsys) -> None:
    key = {"name": "team-a", "sha256": key_digest("key-of-team-a-0123"), "expires": "2026-01-01"}
    (tmp_path / "keys.json").write_text(json.dumps({"schema": "keys/1", "keys": [key]}))
    server = front(keys={"api_keys_file": tmp_path / "keys.json"})
    expired, unknown = (ask(server, "POST", "/invocations", BODY, key=k) for k in ("key-of-team-a-0123", "x" * 16))
    assert (expired.status, expired.body) == (unknown.status, unknown.body)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["status"], first["key"], first["expired"]) == (401, "team-a", True)
    assert not {"key", "expired"} & second.keys()


def test_a_fault_of_the_app_is_500_and_its_words_are_in_the_log_alone(capsys) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("secret")

    asked = ask(front(broken), "POST", "/invocations", BODY)
    assert (asked.status, b"secret" in asked.body) == (500, False)
    captured = capsys.readouterr()
    assert "secret" in captured.err
    assert json.loads(captured.out)["status"] == 500


def test_a_client_that_leaves_cancels_the_app_and_frees_its_place(capsys) -> None:
    async def scenario() -> None:
        began = asyncio.Event()

        async def endless(scope: Scope, receive: Receive, send: Send) -> None:
            began.set()
            await asyncio.Event().wait()

        server, asked = front(endless, max_running=1), Asking("POST", "/invocations", BODY)
        task = asyncio.create_task(asked.by(server))
        await began.wait()
        assert server.admission.running == 1
        asked.gone.set()
        await task
        assert (server.admission.running, asked.messages) == (0, [])

    asyncio.run(scenario())
    assert json.loads(capsys.readouterr().out)["status"] == 499


def test_an_answer_whose_time_is_over_is_504_or_an_error_frame() -> None:
    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        if b"stream" in (await receive())["body"]:
            headers = [(b"content-type", b"text/event-stream")]
            await scope[EXCHANGE].send({"type": "http.response.start", "status": 200, "headers": headers})
            await scope[EXCHANGE].send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await asyncio.Event().wait()

    server = front(late, request_seconds=0.1, stream_seconds=0.2)
    assert ask(server, "POST", "/invocations", BODY).status == 504
    first, last, _ = ask(server, "POST", "/invocations", b'{"stream": true}').body.split(b"\n\n")
    assert first == b"data: 1"
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "timeout"


def test_a_stream_has_more_time_than_another_answer() -> None:
    async def streaming(scope: Scope, _receive: Receive, _send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await scope[EXCHANGE].send({"type": "http.response.start", "status": 200, "headers": headers})
        await asyncio.sleep(0.2)
        await scope[EXCHANGE].send({"type": "http.response.body", "body": b"data: 1\n\n"})

    server = front(streaming, request_seconds=0.1, stream_seconds=600)
    assert ask(server, "POST", "/invocations", b'{"stream": true}').body == b"data: 1\n\n"


@pytest.mark.parametrize("ends", ["data: 1\n\n", "error"])
def test_a_stream_that_waits_is_told_so_and_then_answered_in_frames(monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    monkeypatch.setattr("llmops_kit.serving.front.front._WAITING_SECONDS", 0.01)

    async def scenario() -> None:
        waited = asyncio.Event()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            await waited.wait()
            if ends == "error":
                raise ApiError(503, "gone", code="engine_error")
            headers = [(b"content-type", b"text/event-stream")]
            await scope[EXCHANGE].send({"type": "http.response.start", "status": 200, "headers": headers})
            await scope[EXCHANGE].send({"type": "http.response.body", "body": ends.encode()})

        asked = Asking("POST", "/invocations", b'{"stream": true}')
        task = asyncio.create_task(asked.by(front(slow)))
        while b": waiting" not in asked.body:
            await asyncio.sleep(0.001)
        waited.set()
        await task
        assert [m["type"] for m in asked.messages].count("http.response.start") == 1
        frames = [f for f in asked.body.split(b"\n\n") if f and f != b": waiting"]
        assert len(frames) == 1
        assert (b"engine_error" in frames[0]) == (ends == "error")

    asyncio.run(scenario())


WRONG_TYPES: dict[str, tuple[dict[str, Any], ...]] = {
    CHAT: (
        {"temperature": "0.5"}, {"temperature": True}, {"top_p": [1]}, {"stream": "true"}, {"stream": 1},
        {"max_tokens": 5.5}, {"max_tokens": 5.0}, {"max_completion_tokens": "5"}, {"n": 1.5}, {"n": "1"},
        {"seed": "1"}, {"stop": 5}, {"presence_penalty": "1"}, {"frequency_penalty": "1"}, {"logprobs": "true"},
        {"top_logprobs": "1"}, {"parallel_tool_calls": "false"}, {"stream_options": "x"}, {"user": 5}, {"store": "yes"},
        {"metadata": ["a"]}, {"service_tier": 1}, {"ignore_eos": 1}, {"min_tokens": 1.5}, {"tools": "x"},
    ),
    COMPLETIONS: ({"temperature": "0.5"}, {"max_tokens": 5.0}, {"stream": "true"}, {"n": 1.5}, {"user": 5}),
    RESPONSES: ({"temperature": "0.5"}, {"max_output_tokens": 5.0}, {"stream": "true"}, {"instructions": 5},
                {"metadata": "x"}, {"user": 5}),
    EMBEDDINGS: ({"dimensions": "32"}, {"user": 5}),
}  # fmt: skip
PROMPTS: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "Hello"}]}, COMPLETIONS: {"prompt": "Hello"},
    RESPONSES: {"input": "Hello"}, EMBEDDINGS: {"input": "Hello"},
}  # fmt: skip


@pytest.mark.parametrize("engine", ["own", "vllm"])
@pytest.mark.parametrize("path", PROMPTS)
def test_a_parameter_of_another_type_is_refused_by_name(engine: str, path: str, of_vllm: Front) -> None:
    server = front() if engine == "own" else of_vllm
    if path == EMBEDDINGS and server._foreign:
        server._foreign._embedding = EmbeddingForm(pooling="mean", normalize=True, dimensions=32, max_tokens=16)
    for fields in WRONG_TYPES[path]:
        asked = ask(server, "POST", path, json.dumps(PROMPTS[path] | fields).encode())
        error = json.loads(asked.body)["error"]
        assert (asked.status, error["code"], error["type"]) == (400, "invalid_type", "invalid_request_error"), fields
        assert error["param"] == next(iter(fields))


@pytest.mark.parametrize("engine", ["own", "vllm"])
@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"n": 10**6}, "invalid_value", "n"),
        ({"prompt_embeds": "gASV"}, "unknown_parameter", "prompt_embeds"),
        ({"sk0secret": 1}, "unknown_parameter", "?"),
        ({"tools": [{"type": "function", "function": {"name": "secret", "sk0secret": 1}}]}, "unknown_parameter",
         "tools[0].function.?"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, "missing_required_parameter",
         "response_format.json_schema.schema"),
    ],
)  # fmt: skip
def test_the_log_says_why_a_request_was_refused_but_nothing_of_the_callers(
    engine: str, fields: dict[str, Any], code: str, param: str, of_vllm: Front, capsys
) -> None:
    server = front() if engine == "own" else of_vllm
    body = {"messages": [{"role": "user", "content": "secret"}]} | fields
    asked = ask(server, "POST", "/invocations", json.dumps(body).encode())
    written = capsys.readouterr().out
    line = json.loads(written)
    assert (line["status"], line["code"], line["param"]) == (400, code, param)
    assert json.loads(asked.body)["error"]["code"] == code
    assert "secret" not in written


def test_the_log_tells_errors_without_a_parameter_apart_and_says_nothing_of_answers(capsys) -> None:
    server = front(max_running=1, max_queue=0)
    with server.admission.admitted("", 1):
        assert ask(server, "POST", "/invocations", BODY).status == 429
    assert ask(server, "POST", "/invocations", BODY, key="wrong").status == 401
    assert ask(server, "POST", "/invocations", BODY).status == 200
    assert ask(front(None), "POST", "/invocations", BODY).status == 500  # an app that can't be called
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("code") for line in lines] == ["overloaded", "invalid_api_key", None, "fault"]
    assert not any("param" in line for line in lines)


# --- 10,000 malformed requests

PATHS = ["/v1/chat/completions", "/invocations", "/", "/v1/models", "/..%2f", "/v1/\x00", "/v1/models/../x", "/ping",
         "/health"]  # fmt: skip


def malformed(generator: random.Random) -> Asking:
    body = bytearray(BODY)
    for _ in range(generator.randrange(6)):
        place = generator.randrange(len(body))
        body[place : place + generator.randrange(4)] = generator.randbytes(generator.randrange(4))
    odd = {"content-length": generator.choice(["", "-1", "x", "9" * 30]), "expect": "\xce", "content-encoding": "gzip",
           "authorization": generator.choice(["", "Bearer", "Basic \xff", f"bearer  {KEY}"])}  # fmt: skip
    headers = {name: odd[name] for name in odd if generator.random() < 0.1}
    return Asking(
        generator.choice(["POST", "POST", "GET", "PUT", "\x80"]), generator.choice(PATHS), bytes(body), **headers
    )


async def vllm_like(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 400, "headers": []})
    await send({"type": "http.response.body", "body": b'{"error": {"message": "no", "code": 400}}'})


@pytest.fixture
def of_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Front:
    """The front as vLLM constructs it, ready: its settings come from the environment."""
    for name, content in (("API_KEY", KEY), ("PUBLIC_KEY", "-----BEGIN PUBLIC KEY-----")):
        (tmp_path / name).write_text(content)
        monkeypatch.setenv(f"LLMOPS_{name}_FILE", str(tmp_path / name))
    return as_loaded(Front(vllm_like))


def _allocated() -> int:
    gc.collect()
    return sys.getallocatedblocks()


@pytest.mark.scorecard("malformed", "rss-flat")
@pytest.mark.parametrize("engine", ["own", "vllm"])
def test_10000_malformed_requests_are_each_the_clients_fault(engine: str, of_vllm: Front) -> None:
    server = front() if engine == "own" else of_vllm
    generator = random.Random(21)

    async def statuses(count: int) -> Counter[int]:
        found = Counter[int]()
        for _ in range(count):
            asked = malformed(generator)
            found[(await asked.by(server)).status] += 1
            json.loads(asked.body) if asked.status >= 400 else None
        return found

    gc.freeze()  # walking all that other tests imported would take longer than the requests
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # pytest would keep the log
        found = asyncio.run(statuses(2_500))
        kept = _allocated()
        found += asyncio.run(statuses(7_500))
        kept = _allocated() - kept
    assert kept < 750, "blocks of memory; one for each request would be 7,500"
    assert found.total() == 10_000
    assert max(found) < 500
    assert {400, 401, 404, 405, 413, 415, 417} <= found.keys()
    assert server.admission.running == server.admission.queued == 0
