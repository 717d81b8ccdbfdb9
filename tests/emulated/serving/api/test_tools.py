"""Tools, JSON schemas and what else OpenAI's client asks for, against a model that is held to them: it is random."""

import json
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

from tests.support.servers.serving import API_KEY, ServingProcess

SWITCH = {
    "type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"], "additionalProperties": False,
}  # fmt: skip
TOOLS: Any = [
    {"type": "function", "function": {"name": "switch", "description": "Turns it on.", "parameters": SWITCH}},
    {"type": "function", "function": {"name": "wait"}},
]
HELLO: Any = [{"role": "user", "content": "Hello"}]
MODEL = "tiny@1"


@pytest.fixture(scope="module")
def client(tools_server: ServingProcess) -> OpenAI:
    return OpenAI(base_url=tools_server.url + "/v1", api_key=API_KEY, max_retries=0)


def streamed(client: OpenAI, **fields: Any) -> tuple[str, list[tuple[str, str]], str]:
    """Text, calls and the reason of the end of a streamed answer."""
    text, calls, finish = "", [], ""
    for chunk in client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, temperature=0, **fields):
        choice = chunk.choices[0]
        text += choice.delta.content or ""
        finish = choice.finish_reason or finish
        for call in choice.delta.tool_calls or []:
            function = call.function
            assert function
            if call.id:
                calls.append((function.name, ""))
            calls[call.index] = (calls[call.index][0], calls[call.index][1] + (function.arguments or ""))
    return text, calls, finish


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "switch"}}])
def test_a_required_call_comes_whole_and_streamed(client: OpenAI, choice: Any) -> None:
    asked: Any = {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": False, "max_tokens": 200}
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, temperature=0, **asked).choices[0]
    assert (answer.finish_reason, answer.message.content) == ("tool_calls", None)
    assert answer.message.tool_calls
    (call,) = answer.message.tool_calls
    assert call.type == "function"
    assert call.id
    if choice != "required":
        assert call.function.name == "switch"
    arguments = json.loads(call.function.arguments)
    assert isinstance(arguments.get("on"), bool) if call.function.name == "switch" else arguments == {}
    assert streamed(client, **asked) == ("", [(call.function.name, call.function.arguments)], "tool_calls")
    # The client's own messages go back as they came, with the tool's answer.
    told: Any = {"role": "tool", "tool_call_id": call.id, "content": "done"}
    again = client.chat.completions.create(
        model=MODEL, messages=[*HELLO, answer.message.model_dump(), told], tools=TOOLS, max_tokens=4
    )
    assert again.usage
    assert again.usage.prompt_tokens > 100


def test_a_golden_prompt_that_expects_a_call_counts(tools_server: ServingProcess) -> None:
    first = tools_server.quality()[0]
    assert (first["passed"], first["total"]) == (1, 2)
    assert "lacks 'lamp {}'" in tools_server.log.read_text()


def test_a_call_that_is_cut_ends_as_length_and_an_answer_without_calls_is_text(client: OpenAI) -> None:
    cut = streamed(client, tools=TOOLS, tool_choice="required", max_tokens=20)
    assert cut == ("", [], "length")
    text, calls, finish = streamed(client, tools=TOOLS, max_tokens=20)
    assert (len(text), calls, finish) == (20, [], "length")
    loose, strict = [
        {"type": "function", "function": {"name": "switch", "strict": strict, "parameters": SWITCH}}
        for strict in (False, True)
    ]
    free = streamed(client, tools=[loose], max_tokens=20)
    assert streamed(client, tools=[strict], max_tokens=20) == free, "text is free"


def test_answers_are_held_to_a_schema_and_to_json(client: OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "switch", "strict": True, "schema": SWITCH}}
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, response_format=form, max_tokens=60)
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(json.loads(answer.choices[0].message.content or "")["on"], bool)
    anything = streamed(client, response_format={"type": "json_object"}, max_tokens=8)
    assert anything[0].lstrip().startswith("{")


def test_several_answers_come_with_log_probabilities_and_tokens_as_asked(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=HELLO, n=3, logprobs=True, max_tokens=9, temperature=1, seed=5, stop=["\x00"]
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3
    for choice in answer.choices:
        assert choice.logprobs
        assert choice.logprobs.content
        assert all(token.logprob <= 0 and not token.top_logprobs for token in choice.logprobs.content)
    first = answer.choices[0].logprobs
    assert first
    assert first.content
    joined = b"".join(bytes(token.bytes or ()) for token in first.content)
    assert joined.decode(errors="replace") == answer.choices[0].message.content
    seen = {0: "", 1: ""}
    stream = client.chat.completions.create(model=MODEL, messages=HELLO, n=2, max_tokens=5, temperature=0, stream=True)
    for chunk in stream:
        seen[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert seen[0] == seen[1] != ""
    counted = client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=30, extra_body={"ignore_eos": True, "min_tokens": 30}
    )
    assert counted.usage
    assert counted.usage.completion_tokens == 30


def test_a_text_is_completed_whole_and_streamed(client: OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="Once", max_tokens=12, temperature=0)
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.choices[0].finish_reason) == (4, "length")
    pieces = client.completions.create(model=MODEL, prompt="Once", max_tokens=12, temperature=0, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == answer.choices[0].text


def test_a_response_has_the_answer_of_the_chat_whole_and_streamed(client: OpenAI, tools_server: ServingProcess) -> None:
    asked: Any = {"model": MODEL, "input": HELLO, "temperature": 0}
    chat = client.chat.completions.create(model=MODEL, messages=HELLO, temperature=0, max_tokens=12)
    whole = client.responses.create(**asked, max_output_tokens=12)
    assert (whole.output_text, whole.status) == (chat.choices[0].message.content, "incomplete")
    assert whole.incomplete_details
    assert whole.incomplete_details.reason == "max_output_tokens"
    assert whole.usage
    assert chat.usage
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (chat.usage.prompt_tokens, 12)
    with client.responses.stream(**asked, max_output_tokens=12) as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
    assert len(pieces) > 2
    assert "".join(pieces) == whole.output_text
    # A call comes whole and streamed, and goes back with its result.
    flat: Any = [{"type": "function", "strict": True, **tool["function"]} for tool in TOOLS]
    calling: Any = asked | {"tools": flat, "tool_choice": {"type": "function", "name": "switch"}}
    answer = client.responses.create(**calling)
    (call,) = answer.output
    assert call.type == "function_call"
    assert isinstance(json.loads(call.arguments)["on"], bool)
    events = list(client.responses.create(**calling, stream=True))
    assert events[-1].type == "response.completed"
    (again,) = events[-1].response.output
    assert again.type == "function_call"
    assert again.arguments == call.arguments
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
    back = [*HELLO, *(item.model_dump() for item in answer.output), result]
    told = client.responses.create(**asked | {"input": back}, tools=flat, max_output_tokens=4)
    assert told.usage
    assert answer.usage
    assert told.usage.input_tokens > answer.usage.input_tokens
    form: Any = {"format": {"type": "json_schema", "name": "switch", "schema": SWITCH}}
    held = client.responses.create(**asked, text=form)
    assert isinstance(json.loads(held.output_text)["on"], bool)
    unknown: Any = {"text": {"format": form["format"] | {"schema": {"not": {}}}}}
    refused: list[tuple[Any, str]] = [({"previous_response_id": "resp_1"}, "previous_response_id"),
                                      ({"max_output_tokens": 40_000}, "input"), (unknown, "text.format")]  # fmt: skip
    for fields, param in refused:
        with pytest.raises(BadRequestError) as caught:
            client.responses.create(**asked, **fields)
        assert caught.value.param == param
    assert tools_server.requests()[-1]["path"] == "/v1/responses"


@pytest.mark.cve("grammar-length")
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "integer", "minimum": 5, "maximum": 2}}, "response_format"),
        ({"response_format": {"not": {"type": "string"}}}, "response_format"),
        # It would keep the engine busy for seconds.
        (
            {"response_format": {"properties": {f"{i:x}": {} for i in range(2700)}}},
            "response_format.json_schema.schema",
        ),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": SWITCH | {"allOf": [SWITCH, True]}}}],
          "tool_choice": "required"}, "tools: f: parameters"),
        ({"messages": [{"role": "assistant", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}]}]},
         "messages[0].tool_calls[0].function.arguments"),
        ({"logprobs": True, "top_logprobs": 2}, "top_logprobs"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_and_everybody_else_is_served(
    client: OpenAI, fields: dict[str, Any], param: str
) -> None:
    if form := fields.get("response_format"):
        fields = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": form}}}
    asked: Any = {"model": MODEL, "messages": HELLO, "max_tokens": 5} | fields
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(**asked)
    assert caught.value.param == param
    assert streamed(client, response_format={"type": "json_object"}, max_tokens=3)[2] == "length"


def test_a_template_without_tools_refuses_them(shared_server: ServingProcess) -> None:
    status, answer = shared_server.chat(tools=TOOLS)
    assert (status, answer["error"]["param"]) == (400, "tools")
    assert "takes no tools" in answer["error"]["message"]
    status, answer = shared_server.ask("POST", "/v1/chat/completions", {
        "messages": [*HELLO, {"role": "tool", "content": "x", "tool_call_id": "1"}]})  # fmt: skip
    assert (status, answer["error"]["param"]) == (400, "messages[1]")
