"""Schemas of requests to vLLM are checked before vLLM, which is a few lines here, gets them."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmops_kit.core.limits import RequestLimits
from llmops_kit.core.models.tool_call_stream import HERMES
from llmops_kit.serving.engines.engine import Grammar
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.front.admission import Admission
from llmops_kit.serving.front.exchange import EXCHANGE, HttpExchange, Message, Receive, Scope, Send
from llmops_kit.serving.front.readiness import Readiness
from llmops_kit.serving.front.routes import CHAT, COMPLETIONS, RESPONSES
from llmops_kit.serving.front.schema_checks import SchemaChecks, Vocabulary
from llmops_kit.serving.front.vllm import VllmApp
from llmops_kit.serving.front.vllm_schemas import AskedSchemas
from llmops_kit.serving.metrics import Metrics
from llmops_kit.serving.server_settings import ServerSettings
from tests.support.servers.vllm_stand_in import CARD

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
VOCABULARY = Vocabulary("vllm", list)


def tool(schema: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "look", "parameters": schema, **fields}}


def chat_format(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


def text_format(schema: Any) -> dict[str, Any]:
    return {"text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}}


def doubled() -> dict[str, Any]:
    chain = {f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(11)}
    return {"type": "object", "$ref": "#/$defs/l0", "$defs": {**chain, "l11": {"enum": list(range(900))}}}


WIDE = {"type": "object", "properties": {f"p{n}": {"pattern": rf"\w{{190}}x{n}"} for n in range(32)}}
ATTACKS = [
    (CHAT, {"tools": [tool(WIDE)]}, "tools[0].function.parameters", "pattern_size"),
    (CHAT, {"tools": [tool(CITY), tool(doubled(), name="x")]}, "tools[1].function.parameters", "expansion"),
    (CHAT, {"tools": [tool(WIDE)], "tool_choice": "none"}, "tools[0].function.parameters", "pattern_size"),
    (CHAT, chat_format(WIDE), "response_format.json_schema.schema", "pattern_size"),
    (CHAT, chat_format(doubled()), "response_format.json_schema.schema", "expansion"),
    (COMPLETIONS, chat_format(doubled()), "response_format.json_schema.schema", "expansion"),
    (
        RESPONSES,
        {"tools": [{"type": "function", "name": "x", "parameters": WIDE}]},
        "tools[0].parameters",
        "pattern_size",
    ),
    (RESPONSES, text_format({"pattern": "(a{100}){101}"}), "text.format.schema", "pattern_size"),
]


async def asked(
    path: str, fields: Mapping[str, Any], checks: SchemaChecks | None = None, owner: Any = None
) -> list[bytes]:
    """Bodies that reach vLLM."""
    reached: list[bytes] = []

    async def vllm(_: Scope, receive: Receive, send: Send) -> None:
        reached.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def receive() -> Message:
        prompt = {CHAT: {"messages": [{"role": "user", "content": "?"}]}, COMPLETIONS: {"prompt": "?"}}
        body = prompt.get(path, {"input": "?"}) | dict(fields)
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(_: Message) -> None:
        pass

    scope: Scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    scope[EXCHANGE] = HttpExchange(scope, send, Metrics())
    app = VllmApp(vllm, ServerSettings(Path(), ""), Readiness(), Admission(RequestLimits()), Metrics())
    app.card = CARD
    app._form, app._owner = HERMES, owner  # pyright: ignore[reportPrivateUsage] (known once vLLM has started)
    app._checks = checks or app._checks  # pyright: ignore[reportPrivateUsage]
    try:
        await app(scope, receive, send)
    finally:
        await app._checks.close()  # pyright: ignore[reportPrivateUsage] (with its server)
    return reached


@pytest.mark.cve("grammar-length")
@pytest.mark.parametrize(("path", "fields", "param", "limit"), ATTACKS)
def test_a_schema_beyond_the_limits_does_not_reach_vllm(path: str, fields: Any, param: str, limit: str) -> None:
    with pytest.raises(ApiError, match=f"exceeds the limit {limit}") as caught:
        asyncio.run(asked(path, fields))
    assert (caught.value.status, caught.value.body["error"]["param"]) == (400, param)


@pytest.mark.cve("grammar-length")
@pytest.mark.scorecard("schema-process")
@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (CHAT, {"response_format": {"type": "structural_tag", "format": {"type": "regex"}}}, "response_format.type"),
        (COMPLETIONS, {"response_format": {"type": "structural_tag", "triggers": []}}, "response_format.type"),
        (RESPONSES, {"text": {"format": {"type": "grammar", "name": "x"}}}, "text.format.type"),
        (CHAT, chat_format({"type": "lamp"}), "response_format.json_schema.schema"),
        (RESPONSES, text_format({"properties": 5}), "text.format.schema"),
        (
            CHAT,
            {"tools": [tool({"type": "object", "allOf": 5})], "tool_choice": "required"},
            "tools[0].function.parameters",
        ),
        (CHAT, chat_format({"type": "number", "multipleOf": 2}), "response_format"),
    ],
)
def test_what_the_other_engines_refuse_does_not_reach_vllm(path: str, fields: Any, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        asyncio.run(asked(path, fields))
    assert (caught.value.status, caught.value.body["error"]["param"]) == (400, param)


def test_a_request_without_schemas_starts_no_process() -> None:
    class NoProcess(SchemaChecks):
        async def check_schemas(self, schemas: Mapping[str, Any], caller: str) -> None:
            assert not schemas
            await super().check_schemas(schemas, caller)

        async def check_grammar(self, *_: Any, **__: Any) -> None:
            raise AssertionError

    for path, fields in (
        (CHAT, {}),
        (CHAT, {"response_format": {"type": "json_object"}}),
        (RESPONSES, {"text": {"format": {"type": "text"}}}),
        (RESPONSES, {"text": {"verbosity": "low"}}),
        (CHAT, {"tools": []}),
    ):
        found = AskedSchemas.of(fields, path)
        if found:
            asyncio.run(found.check(NoProcess(), HERMES, VOCABULARY, "a"))
        assert asyncio.run(asked(path, fields))
    assert AskedSchemas.of({}, CHAT) is None


def test_schemas_come_first_and_then_the_grammar_that_holds_the_answer() -> None:
    class Recording(SchemaChecks):
        seen: list[Any]

        async def check_schemas(self, schemas: Mapping[str, Any], caller: str) -> None:
            self.seen.append((list(schemas), caller))

        async def check_grammar(self, grammar: Grammar, vocabulary: Vocabulary, place: str, caller: str) -> None:
            assert vocabulary is VOCABULARY
            self.seen.append((place, caller, bool(grammar.choices)))

    tools, form = ["tools[0].function.parameters"], ["response_format.json_schema.schema"]
    for fields, seen in (
        ({"tools": [tool(CITY)]}, [(tools, "a")]),
        ({"tools": [tool(CITY, strict=True)]}, [(tools, "a"), ("tools", "a", True)]),
        ({"tools": [tool(CITY)], "tool_choice": "required"}, [(tools, "a"), ("tools", "a", True)]),
        (chat_format(CITY), [(form, "a"), ("response_format", "a", False)]),
        (chat_format(CITY) | {"tools": [tool(CITY)]}, [(tools + form, "a"), ("response_format", "a", False)]),
    ):
        checks = Recording()
        checks.seen = []
        found = AskedSchemas.of(fields, CHAT)
        assert found
        asyncio.run(found.check(checks, HERMES, VOCABULARY, "a"))
        assert checks.seen == seen


def test_grammars_are_tried_for_the_tokens_of_the_model_that_vllm_has_loaded(tmp_path: Path) -> None:
    class Trying(SchemaChecks):
        found: Vocabulary

        async def check_grammar(self, grammar: Grammar, vocabulary: Vocabulary, place: str, caller: str) -> None:
            self.found = vocabulary

    vocab = {"model": {"vocab": {"a": 0, "\u2581b": 1}}, "added_tokens": [{"id": 2, "content": "<s>", "special": True}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(vocab))
    owner = SimpleNamespace(state=SimpleNamespace(args=SimpleNamespace(model=str(tmp_path))))
    checks = Trying()
    assert asyncio.run(asked(CHAT, chat_format(CITY), checks, owner))
    assert (checks.found.engine, checks.found.tokens()) == ("vllm", [b"a", b" b", b""])
