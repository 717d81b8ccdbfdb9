"""Grammars of calls in each form, and the keywords of schemas that answers can't be held to."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from llmops_kit.core.models.tool_call_stream import HERMES, LLAMA, OURS, CallForm
from llmops_kit.core.models.tool_calls import parse_tool_calls
from llmops_kit.serving.api.tools import OfferedTool
from llmops_kit.serving.engines.engine import GenerationRequest
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.grammars import calls_grammar, schema_grammar

TOOLS = [OfferedTool.model_validate({"type": "function", "function": {"name": name}}) for name in ("now", "later")]


@pytest.mark.parametrize("form", [HERMES, LLAMA, OURS])
def test_what_a_grammar_of_calls_allows_is_read_as_calls(form: CallForm) -> None:
    grammar = calls_grammar(form, TOOLS, several=True)
    calls = grammar.separator.join(f"{choice.begin}{{}}{choice.end}" for choice in grammar.choices)
    found = parse_tool_calls(grammar.before + calls + grammar.after)
    assert (found.content, [call.name for call in found.calls]) == ("", ["now", "later"])
    asked = GenerationRequest([1], 5, grammar=grammar)
    assert GenerationRequest.of_dict(json.loads(json.dumps(asdict(asked)))) == replace(asked, stop_ids=[])  # pyright: ignore[reportArgumentType] (a list once it was sent)


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"properties": {"a": {"if": True, "then": False}}}, "if"),
        ({"anyOf": [{"contains": {}}]}, "contains"),
        ({"allOf": [{"type": "string"}, {"minLength": 1}]}, "allOf with more than one schema"),
        ({"type": "number", "multipleOf": 2}, "multipleOf"),
    ],
)
def test_what_answers_cannot_be_held_to_is_named(schema: dict[str, Any], keyword: str) -> None:
    with pytest.raises(ApiError, match=keyword) as caught:
        schema_grammar(schema, "response_format")
    assert caught.value.status == 400


def test_what_says_nothing_about_a_value_is_taken() -> None:
    schema = {
        "title": "T",
        "description": "d",
        "type": "object",
        "properties": {"if": {"type": "string", "default": "x"}},
    }
    assert schema_grammar(schema, "response_format").schema
