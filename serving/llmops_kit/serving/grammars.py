"""Grammars that constrain answers to a JSON schema or to tool calls."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from llmops_kit.core.json_schema.bounds import parts_of_schema
from llmops_kit.core.models.tool_call_stream import HERMES, LLAMA, CallForm
from llmops_kit.core.models.tool_calls import CLOSE, OPEN
from llmops_kit.serving.api.tools import OfferedTool
from llmops_kit.serving.engines.engine import Grammar, Tagged
from llmops_kit.serving.errors import ApiError

# Keywords that xgrammar's JSON schema converter enforces, and annotations, which don't constrain a value.
_HONOURED = {
    "type", "enum", "const", "properties", "required", "additionalProperties", "minProperties", "maxProperties",
    "propertyNames", "items", "prefixItems", "minItems", "maxItems", "unevaluatedItems", "unevaluatedProperties",
    "anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions", "pattern", "format", "minLength", "maxLength",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "title", "description", "default", "examples", "$schema", "$comment", "deprecated", "readOnly", "writeOnly",
}  # fmt: skip


def schema_grammar(schema: dict[str, Any], place: str) -> Grammar:
    """Returns the grammar of all JSON values that a schema allows.

    Raises:
        ApiError: 400, the schema has a keyword that can't be enforced.
    """
    require_honoured(schema, place)
    return Grammar(schema=json.dumps(schema))


def strict_grammar(tools: Sequence[OfferedTool], *, several: bool) -> Grammar:
    """Returns a grammar for any text in which calls in Hermes' format are valid.

    Raises:
        ApiError: 400, a tool's parameters have a keyword that can't be enforced.
    """
    return replace(calls_grammar(HERMES, tools, several=several), trigger=OPEN)


def calls_grammar(form: CallForm, tools: Sequence[OfferedTool], *, several: bool) -> Grammar:
    """Returns a grammar for tool calls, in the format in which the model writes them.

    Raises:
        ApiError: 400, a tool's parameters have a keyword that can't be enforced.
    """
    for tool in tools:
        require_honoured(tool.function.parameters or {}, f"tools: {tool.function.name}: parameters")
    if form is HERMES:
        choices = _tagged(tools, f'{OPEN}\n{{"name": ', "arguments", f"}}\n{CLOSE}")
        return Grammar(choices=choices, separator="\n", several=several)
    if form is LLAMA:
        return Grammar(choices=_tagged(tools, '{"name": ', "parameters", "}"), separator="; ", several=several)
    choices = _tagged(tools, '{"name": ', "arguments", "}")
    return Grammar(choices=choices, before='{"tool_calls": [', after="]}", separator=", ", several=several)


def _tagged(tools: Sequence[OfferedTool], begin: str, key: str, end: str) -> tuple[Tagged, ...]:
    return tuple(Tagged(f'{begin}{json.dumps(tool.function.name)}, "{key}": ', tool.schema_text, end) for tool in tools)


def require_honoured(schema: dict[str, Any], place: str) -> None:
    """Rejects a schema with keywords that can't be enforced.

    Raises:
        ApiError: 400, naming the keyword.
    """
    for keyword in _unhonoured(schema):
        raise ApiError(400, f"{place}: answers can't be held to {keyword}", code="unsupported_parameter",
                       param=place)  # fmt: skip


def _unhonoured(schema: dict[str, Any]) -> Iterator[str]:
    for part in parts_of_schema(schema):
        yield from (keyword[:64] for keyword in part if keyword not in _HONOURED)
        if isinstance(every := part.get("allOf"), list) and len(every) > 1:
            yield "allOf with more than one schema"
