"""Parses tool calls in a model's answer, strictly and within limits, in the formats that models write:

| format | models | text |
|---|---|---|
| Hermes | Qwen, Hermes, SmolLM2 1.7B | `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, one a call, or a list |
| Llama | Llama 3.1 and later | `{"name": …, "parameters": {…}}`, several with `;` or a new line between them |
| ours | models without their own format | `{"tool_calls": [{"name": …, "arguments": {…}}]}` |

Sources: https://github.com/NousResearch/Hermes-Function-Calling, Qwen2.5's chat template, and
https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/ (JSON based tool calling, `<function=…>`).
"""

import re
from collections.abc import Mapping, Sequence
from json import JSONDecodeError, JSONDecoder
from typing import Any, NamedTuple

from llmops_kit.core.json_schema.checks import fault_of
from llmops_kit.core.json_values import MAX_CHARACTERS, equal_json, read_json

MAX_CALLS = 64
OPEN, CLOSE = "<tool_call>", "</tool_call>"
_PYTHON_TAG = "<|python_tag|>"
_FUNCTION, _FUNCTION_END = "<function=", "</function>"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_BETWEEN = re.compile(r"[\s;]*")


class ParsedCall(NamedTuple):
    """A tool call that a model wrote."""

    name: str
    arguments: dict[str, Any]


class ParsedAnswer(NamedTuple):
    """The text of an answer without its calls, and the calls."""

    content: str
    calls: list[ParsedCall]


def parse_tool_calls(text: str) -> ParsedAnswer:
    """Returns the calls of an answer; an answer in none of the formats has none, whatever JSON it holds.

    Raises:
        ValueError: the answer has an invalid call or too many calls, or is too long.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"has more than {MAX_CHARACTERS} characters")
    if OPEN in text or CLOSE in text:
        found = _hermes(text)
    elif _FUNCTION in text:
        found = _functions(text)
    else:
        found = _whole(text.strip())
    if len(found.calls) > MAX_CALLS:
        raise ValueError(f"has more than {MAX_CALLS} tool calls")
    return found


def parse_call(name: str, arguments: str) -> ParsedCall:
    """Returns a call of OpenAI's form, whose arguments are JSON.

    Raises:
        ValueError: the name is invalid, or the arguments are not a JSON object.
    """
    return _call({"name": name, "arguments": arguments}, ("arguments",))


def fault_of_call(call: ParsedCall, tools: Sequence[Mapping[str, Any]]) -> str:
    """Returns why a call is invalid; empty if it is valid.

    Args:
        tools: the tools that may be called, in OpenAI's form, with schemas that passed `check_schema`.
    """
    for tool in tools:
        if tool["function"]["name"] == call.name:
            return fault_of(call.arguments, tool["function"].get("parameters", True))
    return f"{call.name!r} is not one of the tools"


def equal_calls(calls: Sequence[ParsedCall], others: Sequence[ParsedCall], tools: Sequence[Mapping[str, Any]]) -> bool:
    """Returns whether calls are equal, in any order. An argument that has its schema's default may be left out."""
    left = [_without_defaults(call, tools) for call in others]
    for call in (_without_defaults(call, tools) for call in calls):
        same = next(
            (each for each in left if each.name == call.name and equal_json(each.arguments, call.arguments)), None
        )
        if same is None:
            return False
        left.remove(same)
    return not left


def _without_defaults(call: ParsedCall, tools: Sequence[Mapping[str, Any]]) -> ParsedCall:
    schemas = [tool["function"].get("parameters", {}) for tool in tools if tool["function"]["name"] == call.name]
    properties = schemas[0].get("properties", {}) if schemas else {}
    kept = {}
    for name, value in call.arguments.items():
        schema = properties.get(name)
        if not (isinstance(schema, dict) and "default" in schema and equal_json(schema["default"], value)):
            kept[name] = value
    return ParsedCall(call.name, kept)


def _hermes(text: str) -> ParsedAnswer:
    content, *parts = text.split(OPEN)
    calls: list[ParsedCall] = []
    for part in parts:
        inside, close, after = part.partition(CLOSE)
        if not close or CLOSE in after:
            raise ValueError(f"has {OPEN} and {CLOSE} that do not pair")
        value = read_json(inside)
        calls += [_call(each, ("arguments",)) for each in (value if isinstance(value, list) else [value])]
        content += after
    if CLOSE in content:
        raise ValueError(f"has {OPEN} and {CLOSE} that do not pair")
    return ParsedAnswer(content.strip(), calls)


def _functions(text: str) -> ParsedAnswer:
    *parts, content = text.split(_FUNCTION_END)
    calls: list[ParsedCall] = []
    outside: list[str] = []
    for part in parts:
        before, _, call = part.partition(_FUNCTION)
        name, _, inside = call.partition(">")
        calls.append(_call({"name": name, "arguments": _object(read_json(inside))}, ("arguments",)))
        outside.append(before)
    if _FUNCTION in content:
        raise ValueError(f"has a {_FUNCTION}…> without its end")
    return ParsedAnswer("".join([*outside, content]).strip(), calls)


def _whole(text: str) -> ParsedAnswer:
    """Parses an answer that either consists of calls only or has none."""
    tagged = text.startswith(_PYTHON_TAG)
    values = _values(text.removeprefix(_PYTHON_TAG).strip())
    match values:
        case [{"tool_calls": list(calls), **others}] if not others:
            return ParsedAnswer("", [_call(each, ("arguments",)) for each in calls])
        case [{"name": str(), "parameters": _}, *_]:
            return ParsedAnswer("", [_call(each, ("parameters",)) for each in values])
    if tagged:
        raise ValueError(f"has {_PYTHON_TAG} and no call in JSON")
    return ParsedAnswer(text, [])


def _values(text: str) -> list[Any]:
    """Returns the JSON objects of a text; [] if it holds anything else."""
    objects: list[str] = []
    decoder, place = JSONDecoder(), 0
    while text[place : place + 1] == "{":
        try:
            end = decoder.raw_decode(text, place)[1]
        except (JSONDecodeError, RecursionError):
            return []
        objects.append(text[place:end])
        between = _BETWEEN.match(text, end)
        place = between.end() if between else end
    return [read_json(each) for each in objects] if place == len(text) else []


def _call(value: Any, keys: tuple[str, ...]) -> ParsedCall:
    match value:
        case {"type": "function", "function": dict(inner)}:
            value = inner
    if not isinstance(value, dict) or not isinstance(name := value.get("name"), str) or not _NAME.fullmatch(name):
        raise ValueError("has a tool call without a name")
    arguments = next((value[key] for key in keys if key in value), {})
    return ParsedCall(name, _object(read_json(arguments) if isinstance(arguments, str) else arguments))


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("has a tool call whose arguments are not an object")
    return value
