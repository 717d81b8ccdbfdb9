"""Calls come out of an answer while it is generated, the same however it is cut into pieces."""

import json
import random
import re

import pytest

from llmops_kit.core.models.tool_call_stream import HERMES, LLAMA, OURS, CallForm, CallReader, form_of
from llmops_kit.core.models.tool_calls import parse_tool_calls

# As Qwen2.5-7B-Instruct, Hermes-3, Llama-3.1-8B-Instruct and Llama-3.2 write them by their cards and templates.
QWEN = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "unit": "celsius"}}\n</tool_call>'
HERMES_3 = (
    'I will look both up.\n<tool_call>\n{"name": "find", "arguments": {"text": "a } \\" {b}", "deep": {"x": [{}]}}}\n'
    '</tool_call>\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
)
LLAMA_3 = '{"name": "get_weather", "parameters": {"city": "Paris"}}'
TWO_OF_LLAMA = (
    '<|python_tag|>{"type": "function", "name": "a", "parameters": {"n": 1}}; {"name": "b", "parameters": {}}'
)
OURS_TWO = '{"tool_calls": [{"name": "a", "arguments": {"n": 1}}, {"name": "b", "arguments": {"s": "]}"}}]}'
UNUSUAL = '<tool_call>{"arguments": {"n": 1}, "name": "a"}</tool_call><tool_call>[{"name": "b"}]</tool_call>'
NESTED = '{"tool_calls": [{"type": "function", "function": {"name": "a", "arguments": "{\\"n\\": 1}"}}]}'


def read(form: CallForm, text: str, sizes: random.Random | None = None) -> tuple[str, list[tuple[str, str]]]:
    reader, content, calls = CallReader(form), "", []
    rest = text
    parts = []
    while rest:
        size = sizes.randrange(1, 9) if sizes else len(rest)
        parts.append(reader.feed(rest[:size]))
        rest = rest[size:]
    for piece in [*parts, reader.flush()]:
        content += piece.text
        for delta in piece.calls:
            if delta.name:
                assert delta.call == len(calls)
                calls.append((delta.name, ""))
            calls[delta.call] = (calls[delta.call][0], calls[delta.call][1] + delta.arguments)
    return content, calls


@pytest.mark.parametrize(
    ("form", "text"),
    [(HERMES, QWEN), (HERMES, HERMES_3), (HERMES, UNUSUAL), (HERMES, "Just <b>text</b>."), (LLAMA, LLAMA_3),
     (LLAMA, TWO_OF_LLAMA), (LLAMA, "It is {}."), (LLAMA, '{"city": "Graz"}'), (OURS, OURS_TWO), (OURS, NESTED),
     (OURS, '{"a": 1}')],
)  # fmt: skip
def test_pieces_give_what_the_whole_answer_has(form: CallForm, text: str) -> None:
    whole = parse_tool_calls(text)
    expected = (whole.content, [(call.name, call.arguments) for call in whole.calls])
    sizes = random.Random(0)
    for cutting in [None, *[sizes] * 40]:
        content, calls = read(form, text, cutting)
        assert (content.strip(), [(name, json.loads(arguments)) for name, arguments in calls]) == expected


def test_name_and_arguments_come_before_the_call_ends() -> None:
    reader = CallReader(HERMES)
    pieces = [reader.feed(c) for c in QWEN]
    named = next(i for i, piece in enumerate(pieces) if piece.calls)
    assert QWEN[: named + 1].endswith('"arguments": {')
    assert sum(bool(piece.calls) for piece in pieces) > 20
    assert reader.complete == 1


@pytest.mark.parametrize("form_text", [(HERMES, HERMES_3), (LLAMA, LLAMA_3), (OURS, OURS_TWO)])
def test_a_cut_answer_shows_nothing_of_its_markup(form_text: tuple[CallForm, str]) -> None:
    form, text = form_text
    begins = re.search(r'"(arguments|parameters)": {', text).end()  # pyright: ignore[reportOptionalMemberAccess]
    for end in range(len(text)):
        content, calls = read(form, text[:end], random.Random(end))
        assert "tool_call" not in content
        assert '"' not in content
        assert bool(calls) == (end >= begins)


def test_what_is_no_call_is_not_lost() -> None:
    assert read(HERMES, "<tool_call>weather(city)</tool_call> done") == ("weather(city) done", [])


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ('return within <tool_call></tool_call> {"name": <function-name>}', HERMES),
        ('{{- \'Respond in the format {"name": function name, "parameters": dictionary of argument name\' }}', LLAMA),
        ('write {\\"tool_calls\\": [{\\"name\\": ', OURS),
        ("<tool_call>\n<function=name>\n<parameter=x>", None),
        ("[TOOL_CALLS] {{ tools }}", None),
    ],
)
def test_a_template_tells_its_form(template: str, form: CallForm | None) -> None:
    assert form_of(template) is form
