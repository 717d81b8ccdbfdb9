"""Tool calls are read in each form that models write, strictly."""

from typing import Any

import pytest

from llmops_kit.core.models.tool_calls import MAX_CALLS, ParsedCall, equal_calls, fault_of_call, parse_tool_calls

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}},
            "required": ["city"],
        },
    },
}
GRAZ, LINZ = ParsedCall("weather", {"city": "Graz"}), ParsedCall("weather", {"city": "Linz"})
ONE = '{"name": "weather", "arguments": {"city": "Graz"}}'
LLAMA = '{"name": "weather", "parameters": {"city": "Graz"}}'


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        ("Which city?", "Which city?", []),
        (f"<tool_call>\n{ONE}\n</tool_call>", "", [GRAZ]),
        (f"Let me see.\n<tool_call>{ONE}</tool_call>\n<tool_call>{ONE}</tool_call>", "Let me see.", [GRAZ, GRAZ]),
        (f"<tool_call>[{ONE}, {ONE}]</tool_call>", "", [GRAZ, GRAZ]),
        ("<tool_call>[]</tool_call>", "", []),
        ('<tool_call>{"name": "now"}</tool_call>', "", [ParsedCall("now", {})]),
        ('<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"Graz\\"}"}</tool_call>', "", [GRAZ]),
        (LLAMA, "", [GRAZ]),
        (f"<|python_tag|>{LLAMA}; {LLAMA}", "", [GRAZ, GRAZ]),
        ('{"type": "function", "name": "weather", "parameters": {"city": "Graz"}}', "", [GRAZ]),
        ('<function=weather>{"city": "Graz"}</function>', "", [GRAZ]),
        ('Well. <function=weather>{"city": "Graz"}</function>', "Well.", [GRAZ]),
        ('{"tool_calls": [' + ONE + "]}", "", [GRAZ]),
        ('{"tool_calls": [{"type": "function", "function": ' + ONE + "}]}", "", [GRAZ]),
        ('{"city": "Graz"}', '{"city": "Graz"}', []),  # JSON, and no call
        ('[{"name": "Graz"}]', '[{"name": "Graz"}]', []),
        (f"It is {LLAMA}", f"It is {LLAMA}", []),
    ],
)
def test_calls_of_each_form(text: str, content: str, calls: list[ParsedCall]) -> None:
    assert parse_tool_calls(text) == (content, calls)


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>{ONE}",  # cut off
        f"{ONE}</tool_call>",
        f"<tool_call><tool_call>{ONE}</tool_call></tool_call>",
        "<tool_call>weather(city='Graz')</tool_call>",
        "<tool_call>__import__('os').system('true')</tool_call>",
        '<tool_call>{"name": "weather", "name": "delete", "arguments": {}}</tool_call>',
        '<tool_call>{"arguments": {}}</tool_call>',
        '<tool_call>{"name": "rm -rf", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "weather", "arguments": ["Graz"]}</tool_call>',
        '<tool_call>{"name": "weather", "arguments": "Graz"}</tool_call>',
        "<|python_tag|>weather.call(city='Graz')",
        f"{LLAMA}; " + '{"name": "weather", "parameters": 1}',
        '<function=weather>{"city": "Graz"}',
        '<function=rm -rf>{"city": "Graz"}</function>',
        '<function=weather><function=weather>{"city": "Graz"}</function>',
        f"<tool_call>{ONE}</tool_call>" * (MAX_CALLS + 1),
        "x" * 70_000,
    ],
)
def test_what_begins_a_call_and_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"pair|Expecting|twice|tool call|no call|its end|characters"):
        parse_tool_calls(text)


@pytest.mark.parametrize(
    ("name", "arguments", "fault"),
    [
        ("weather", {"city": "Graz"}, ""),
        ("weather", {}, "'city' is a required property"),
        ("weather", {"city": 3}, "city: 3 is not of type 'string'"),
        ("wether", {"city": "Graz"}, "'wether' is not one of the tools"),
    ],
)
def test_a_call_is_held_against_the_tools_schema(name: str, arguments: dict[str, Any], fault: str) -> None:
    assert fault_of_call(ParsedCall(name, arguments), [WEATHER]) == fault


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ([GRAZ], [GRAZ], True),
        ([GRAZ, LINZ], [LINZ, GRAZ], True),
        ([GRAZ], [LINZ], False),
        ([GRAZ], [GRAZ, GRAZ], False),
        ([GRAZ], [], False),
        ([GRAZ], [ParsedCall("weather", {"city": "Graz", "days": 1})], True),
        ([GRAZ], [ParsedCall("weather", {"city": "Graz", "days": 2})], False),
    ],
)
def test_calls_are_compared_by_value(one: list[ParsedCall], other: list[ParsedCall], equal: bool) -> None:
    assert equal_calls(one, other, [WEATHER]) is equal
