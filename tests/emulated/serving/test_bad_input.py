"""Bad input of callers and operators: each a clear error, while everybody else is answered as if alone."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.network.api_key import key_digest
from tests.support.servers.serving import API_KEY, ServingProcess, sign_version, until
from tests.support.tiny_models.models import copy_model
from tools.conformance.questions import offer_tools, said_in_pieces

HELLO = [{"role": "user", "content": "Hello"}]
TEAM_KEY = "a-key-of-team-a-0123"
BROKEN = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 5, "maximum": 2}}, "required": ["n"]}
BAD: list[tuple[dict[str, Any] | bytes, int, str, str, str]] = [
    ({"model": "gpt-9"}, 404, "model_not_found", "model", "the model is 'tiny@1', not 'gpt-9'"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": BROKEN}}}, 400,
     "invalid_value", "response_format", "minimum"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "lamp"}}}}, 400,
     "invalid_value", "response_format.json_schema.schema", "lamp"),
    ({"tools": [{"type": "function", "function": {"parameters": {"type": "object"}}}]}, 400,
     "missing_required_parameter", "tools[0].function.name", "name"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": BROKEN}}], "tool_choice": "required"},
     400, "invalid_value", "tools", "minimum"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}],
      "tool_choice": {"type": "function", "function": {"name": "g"}}}, 400,
     "invalid_value", "tool_choice", "'g' is not one of the tools"),
    ({"max_tokens": 4000}, 400, "context_length_exceeded", "messages", "context has 2048 tokens; the messages take "),
    ({"messages": [{"role": "user", "content": "x" * 2100}]}, 400, "context_length_exceeded", "messages",
     "context has 2048 tokens; the messages take 21"),
    ({"messages": []}, 400, "invalid_value", "messages", "messages"),
    ({"temperature": "0.5"}, 400, "invalid_type", "temperature", "number"),
    (b'{"messages": [', 400, "invalid_json", "", "JSON"),
    (b"", 400, "invalid_json", "", "JSON"),
]  # fmt: skip


def alone_and_beside(server: ServingProcess, bad: Callable[[], None]) -> None:
    """Has bad input come while streams run, which must end with the tokens that each gets alone."""

    def whole(text: str, begun: Callable[[], None] = lambda: None) -> str:
        with server.stream(text, max_tokens=1200) as events:
            pieces = [next(events)]
            begun()
            pieces += events
        assert pieces.pop() == "[DONE]"
        return said_in_pieces(pieces)

    neighbours = [f"Neighbour {i}" for i in range(3)]
    expected = [whole(text) for text in neighbours]
    with ThreadPoolExecutor(len(neighbours)) as pool:
        assert whole("Hello", bad)  # begins after its first token, whatever the others do
        running = [pool.submit(whole, text, bad) for text in neighbours]
        assert [each.result() for each in running] == expected


@pytest.mark.scorecard("bad-input", "context-overflow")
def test_bad_requests_and_a_half_written_file_of_keys_are_told_and_nobody_else_notices(
    serve: Callable[..., ServingProcess], version: Path, keys: Path, tmp_path: Path
) -> None:
    folder = copy_model(version, tmp_path / "tools")
    offer_tools(folder)
    sign_version(folder, keys)
    key_file = tmp_path / "keys.json"
    content = {"schema": "keys/1", "keys": [{"name": "team-a", "sha256": key_digest(TEAM_KEY)}]}
    key_file.write_text(json.dumps(content))
    server = serve(folder, LLMOPS_API_KEYS_FILE=str(key_file)).wait_ready()

    def bad() -> None:
        for fields, status, code, param, words in BAD:
            body = fields if isinstance(fields, bytes) else {"messages": HELLO} | fields
            for path in ("/v1/chat/completions", "/invocations"):
                got, answer = server.ask("POST", path, body)
                error = answer["error"]
                assert (got, error["code"], error["param"] or "") == (status, code, param), answer
                assert words in error["message"]
        key_file.write_text(json.dumps(content)[:40])
        for key in (API_KEY, TEAM_KEY):
            assert server.ask("GET", "/v1/models", key=key)[0] == 200

    alone_and_beside(server, bad)
    log = server.log.read_text()
    assert "is not JSON" in log
    assert "its 2 previous keys stay valid" in log
    assert "Traceback" not in log
    assert not [line for line in server.requests() if line["status"] >= 500]
    until(lambda: server.metric("llmops_running") == 0)
    assert server.metric("llmops_engine_restarts_total") == 0
