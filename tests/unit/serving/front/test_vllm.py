"""vLLM's app inside the front: what may reach it, and what becomes of its errors. Its app here is a few lines."""

import asyncio
import functools
import json
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.documents.model import EmbeddingForm
from llmops_kit.core.documents.recipe import ServingDefaults
from llmops_kit.core.limits import RequestLimits
from llmops_kit.core.models.tool_call_stream import HERMES, LLAMA, CallForm
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.front.admission import Admission
from llmops_kit.serving.front.exchange import EXCHANGE, HttpExchange, Message, Receive, Scope, Send
from llmops_kit.serving.front.readiness import Readiness
from llmops_kit.serving.front.vllm import VllmApp
from llmops_kit.serving.front.vllm_requests import check, embedded, filled, filled_response
from llmops_kit.serving.metrics import Metrics
from llmops_kit.serving.server_settings import ServerSettings
from tests.support.servers.vllm_stand_in import CARD

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
        (400, '{"error": {"message": "Invalid structural_tag", "param": "structured_outputs", "code": 400}}',
         "invalid_value"),
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
        scope[EXCHANGE] = HttpExchange(scope, send, Metrics())
        served = VllmApp(app, ServerSettings(Path(), ""), Readiness(), Admission(RequestLimits()), Metrics())
        served.card = CARD
        await served(scope, receive, send)

    with pytest.raises(ApiError) as caught:
        asyncio.run(asked())
    assert (caught.value.status, caught.value.body["error"]["code"]) == (status, code)


def test_a_response_gets_the_versions_defaults_and_is_not_stored() -> None:
    defaults = ServingDefaults(system_prompt="Be brief.", max_tokens=5)
    silent = json.loads(filled_response({"input": "Hello"}, defaults, HERMES))
    assert silent == {"input": "Hello", "max_output_tokens": 5, "instructions": "Be brief.", "store": False}
    for said in ({"instructions": "Be long."}, {"input": [{"role": "developer", "content": "Be long."}]}):
        told = json.loads(filled_response({"max_output_tokens": 7} | said, defaults, None))
        assert told == {"max_output_tokens": 7, "store": False} | said
    with pytest.raises(ApiError) as caught:
        filled_response({"input": "Hello", "store": True}, defaults, None)
    assert caught.value.body["error"]["param"] == "store"


def test_embeddings_may_name_the_models_own_dimensions_which_vllm_never_sees() -> None:
    form = EmbeddingForm(pooling="mean", normalize=True, dimensions=32, max_tokens=16)
    for given in ({}, {"dimensions": 32}, {"dimensions": None}):
        assert json.loads(embedded({"input": "Hello"} | given, form)) == {"input": "Hello"}
    with pytest.raises(ApiError, match="32, and are not shortened") as caught:
        embedded({"input": "Hello", "dimensions": 16}, form)
    assert caught.value.body["error"]["param"] == "dimensions"


LAMP = {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"], "additionalProperties": False}
TOOLS = [
    {"type": "function", "function": {"parameters": LAMP, "name": "lamp", "strict": True, "description": None}},
    {"type": "function", "function": {"name": "stop"}},
]
SHOWN = [
    {"type": "function", "function": {"name": "lamp", "parameters": LAMP}},
    {"type": "function", "function": {"name": "stop"}},
]


def filled_with(form: CallForm | None = HERMES, **fields: Any) -> dict[str, Any]:
    body = json.dumps({"messages": HELLO, "max_tokens": 5} | fields).encode()
    return json.loads(filled(check(body), ServingDefaults(), form))


def tags_of(request: dict[str, Any]) -> dict[str, Any]:
    form = json.loads(request["structured_outputs"]["structural_tag"])["format"]
    return {tag["begin"]: tag["content"]["json_schema"] for tag in form["tags"]}


def test_calls_that_must_be_made_and_strict_tools_are_held_to_their_schemas() -> None:
    empty = {"type": "object", "properties": {}, "additionalProperties": False}
    lamp, stop = (f'<tool_call>\n{{"name": "{name}", "arguments": ' for name in ("lamp", "stop"))
    for choice in ("required", "auto", None):
        held = filled_with(tools=TOOLS, tool_choice=choice)
        assert (held["tools"], held["chat_template_kwargs"], held["tool_choice"]) == (SHOWN, {"tools": SHOWN}, "auto")
        assert tags_of(held) == {lamp: LAMP, stop: empty}
    named = {"type": "function", "function": {"name": "stop"}}
    assert tags_of(filled_with(tools=TOOLS, tool_choice=named)) == {stop: empty}
    assert tags_of(filled_with(LLAMA, tools=TOOLS[1:], tool_choice="required")) == {
        '{"name": "stop", "parameters": ': empty
    }


def test_tools_that_hold_nothing_are_only_shown_and_those_that_must_not_be_called_are_not_given() -> None:
    free = filled_with(tools=TOOLS[1:])
    assert free["chat_template_kwargs"] == {"tools": SHOWN[1:]}
    assert not free.keys() & {"structured_outputs", "tool_choice"}
    absent: tuple[dict[str, Any], ...] = ({"tools": TOOLS, "tool_choice": "none"}, {"tools": []}, {})
    for fields in absent:
        assert not filled_with(**fields).keys() & {"tools", "tool_choice", "chat_template_kwargs", "structured_outputs"}
    with pytest.raises(ApiError, match="a form that this server does not read"):
        filled_with(None, tools=TOOLS[1:])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": TOOLS + TOOLS}, "tools[2].function.name"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "response_format": {"type": "json_object"}}, "response_format"),
        (
            {"tools": [{"type": "function", "function": {"name": "x", "parameters": LAMP | {"not": {}}}}],
             "tool_choice": "required"},
            "tools: x: parameters",
        ),
    ],
)  # fmt: skip
def test_tools_that_vllm_would_not_honour_are_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        filled_with(**fields)
    assert (caught.value.status, caught.value.body["error"]["param"]) == (400, param)


RESPONSE_TOOLS = [{"type": "function", **tool["function"]} for tool in TOOLS]


def response_with(**fields: Any) -> dict[str, Any]:
    body = json.dumps({"input": "Hello", "max_output_tokens": 5} | fields).encode()
    return json.loads(filled_response(check(body), ServingDefaults(), HERMES))


def test_tools_of_responses_are_shown_and_held_as_those_of_chats() -> None:
    choices: tuple[dict[str, Any], ...] = ({"tool_choice": "required"}, {})
    for fields in choices:
        held, chat = response_with(tools=RESPONSE_TOOLS, **fields), filled_with(tools=TOOLS, **fields)
        for name in ("chat_template_kwargs", "structured_outputs", "tool_choice"):
            assert held[name] == chat[name]
        assert [tool | {"type": "function"} for tool in held["tools"]] == [
            {"type": "function", "strict": False, **tool["function"]} for tool in SHOWN
        ]
        assert held["text"] is None
    named = response_with(tools=RESPONSE_TOOLS, tool_choice={"type": "function", "name": "stop"})
    assert [name.split('"')[3] for name in tags_of(named)] == ["stop"]
    assert not response_with(tools=RESPONSE_TOOLS[1:]).keys() & {"structured_outputs", "text"}
    assert not response_with(tools=RESPONSE_TOOLS, tool_choice="none").keys() & {"tools", "tool_choice"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": RESPONSE_TOOLS + RESPONSE_TOOLS}, "tools[2].name"),
        ({"tools": RESPONSE_TOOLS, "tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
        ({"tools": RESPONSE_TOOLS, "text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"tools": RESPONSE_TOOLS, "text": "x"}, "text.format"),
    ],
)
def test_tools_of_responses_that_vllm_would_not_honour_are_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        response_with(**fields)
    assert (caught.value.status, caught.value.body["error"]["param"]) == (400, param)


@pytest.mark.cve("bounded-parameters")
@pytest.mark.parametrize(
    ("asked", "places"),
    [
        ({"prompt": "a"}, 1),
        ({"prompt": [5, 6, 7]}, 1),  # the tokens of one
        ({"prompt": ["a", "b", "c"]}, 3),
        ({"prompt": [[5, 6], [7]], "n": 2}, 4),
        ({"prompt": "a", "n": 4}, 4),
        ({"prompt": ["a"] * 5}, "prompt"),
        ({"prompt": ["a", "b"], "n": 16}, "prompt"),
        ({"prompt": [[5]] * 2000}, "prompt"),
        ({"prompt": "a", "n": 5}, "n"),
    ],
)
def test_every_answer_of_a_list_of_prompts_takes_a_place(asked: Any, places: Any) -> None:
    admission = Admission(RequestLimits(max_running=4))
    taken: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert json.loads((await receive())["body"])["prompt"] == asked["prompt"]
        taken.append(admission.running)

    async def answered() -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": json.dumps(asked).encode()}

        async def send(_message: Message) -> None: ...

        scope: Scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": []}
        scope[EXCHANGE] = exchange = HttpExchange(scope, send, Metrics())
        exchange.more_places = functools.partial(admission.more, "a")
        served = VllmApp(app, ServerSettings(Path(), ""), Readiness(), admission, Metrics())
        served.card = CARD
        async with admission.place("a", 1):
            await served(scope, receive, send)

    if isinstance(places, int):
        asyncio.run(answered())
        assert taken == [places]
    else:
        with pytest.raises(ApiError) as caught:
            asyncio.run(answered())
        assert (caught.value.status, caught.value.body["error"]["param"]) == (400, places)
    assert admission.running == 0
