"""vLLM's app inside the front: what may reach it, and what becomes of its errors. Its app here is a few lines."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from contract.documents.recipe import ServingDefaults
from contract.limits import RequestLimits
from serving.errors import ApiError
from serving.front.admission import Admission
from serving.front.exchange import EXCHANGE, HttpExchange, Message, Receive, Scope, Send
from serving.front.readiness import Readiness
from serving.front.vllm import VllmApp, check, filled_response
from serving.settings import ServerSettings

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.mark.cve("prompt-embeds", "request-chat-template", "grammar-length", "bounded-parameters", "image-url")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt_embeds", "gASVAAAA"),
        ("chat_template", "{{ 7 * 7 }}"),
        ("chat_template_kwargs", {"x": "y"}),
        ("mm_processor_kwargs", {}),
        ("guided_regex", "(a+)+" * 20_000),
        ("structured_outputs", {"regex": "(a+)+"}),
        ("response_format", {"type": "json_schema", "json_schema": {"x": "y" * 70_000}}),
        ("n", 10**6),
        ("best_of", 10**6),
        ("top_logprobs", 10**6),
        ("stop", ["a"] * 1000),
        ("stop", "a" * 100_000),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]),
        ("input", [{"type": "function_call_output", "output": [{"type": "input_image", "image_url": "http://x"}]}]),
        ("previous_response_id", "resp_1"),
        ("vllm_xargs", {}),
        ("kv_transfer_params", {}),
    ],
)
def test_what_a_request_may_not_ask_for_does_not_reach_vllm(name: str, value: Any) -> None:
    check(json.dumps({"messages": HELLO}).encode())
    with pytest.raises(ApiError) as caught:
        check(json.dumps({"messages": HELLO, name: value}).encode())
    assert caught.value.status == 400
    assert name in caught.value.body["error"]["param"]


@pytest.mark.parametrize("body", [b"", b"[]", b"3", b"\xff", b'{"a": ' + b"[" * 100_000, b'{"n": 1e999}'])
def test_what_is_no_request_is_400(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        check(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, '{"error": {"message": "maximum context length is 8", "type": "BadRequestError", "code": 400}}',
         "context_length_exceeded"),
        (404, '{"error": {"message": "The model `x` does not exist.", "code": 404}}', "model_not_found"),
        (422, '{"detail": [{"loc": ["body"]}]}', "invalid_value"),
        (500, "Internal Server Error", "engine_error"),
    ],
)  # fmt: skip
def test_vllms_errors_have_the_one_form(status: int, body: str, code: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body[:9].encode(), "more_body": True})
        await send({"type": "http.response.body", "body": body[9:].encode()})

    async def asked() -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": b'{"messages": []}'}

        async def send(message: Message) -> None:
            raise AssertionError(message)

        scope: Scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": []}
        scope[EXCHANGE] = HttpExchange(scope, send)
        await VllmApp(app, ServerSettings(Path(), ""), Readiness(), Admission(RequestLimits()))(scope, receive, send)

    with pytest.raises(ApiError) as caught:
        asyncio.run(asked())
    assert (caught.value.status, caught.value.body["error"]["code"]) == (status, code)


def test_a_response_gets_the_versions_defaults_and_is_not_stored() -> None:
    defaults = ServingDefaults(system_prompt="Be brief.", max_tokens=5)
    silent = json.loads(filled_response(b'{"input": "Hello"}', defaults))
    assert silent == {"input": "Hello", "max_output_tokens": 5, "instructions": "Be brief.", "store": False}
    for said in ({"instructions": "Be long."}, {"input": [{"role": "developer", "content": "Be long."}]}):
        told = json.loads(filled_response(json.dumps({"max_output_tokens": 7} | said).encode(), defaults))
        assert told == {"max_output_tokens": 7, "store": False} | said
    with pytest.raises(ApiError) as caught:
        filled_response(b'{"input": "Hello", "store": true}', defaults)
    assert caught.value.body["error"]["param"] == "store"
