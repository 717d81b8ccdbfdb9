"""Responses: requests that are taken or refused, and events that OpenAI's own types describe."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from llmops_kit.core.models.tool_call_stream import CallDelta
from llmops_kit.serving.api.frames import Delta, usage_of
from llmops_kit.serving.api.response_frames import ResponseFrames
from llmops_kit.serving.api.responses import parse_responses
from llmops_kit.serving.engines.engine import GenerationRequest
from llmops_kit.serving.errors import ApiError

TOOL = {"type": "function", "name": "now", "parameters": {"type": "object"}, "strict": None}


def parse(**fields: Any):
    return parse_responses(json.dumps({"input": "Hello"} | fields).encode())


def unknown_fields(value: Any) -> list[str]:
    """Returns the fields that OpenAI's types don't have."""
    if isinstance(value, list):
        return [name for each in value for name in unknown_fields(each)]
    if not isinstance(value, BaseModel):
        return []
    inside = [name for each in type(value).model_fields for name in unknown_fields(getattr(value, each))]
    return [*(value.model_extra or ()), *inside]


def test_an_answer_goes_back_as_it_came_and_calls_in_a_row_are_one_message() -> None:
    answered = [
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": None,
         "content": [{"type": "output_text", "text": "Let me see.", "annotations": [], "logprobs": []}]},
        *({"type": "function_call", "id": f"fc_{i}", "call_id": f"call_{i}", "name": "now", "arguments": "{}",
           "status": "completed", "caller": None, "namespace": None} for i in range(2)),
    ]  # fmt: skip
    results = [{"type": "function_call_output", "call_id": "call_0", "output": "noon"},
               {"type": "function_call_output", "call_id": "call_1",
                "output": [{"type": "input_text", "text": "x"}]}]  # fmt: skip
    asked = parse(instructions="Be brief.", input=[{"role": "user", "content": "When?"}, *answered, *results],
                  tools=[TOOL], tool_choice={"type": "function", "name": "now"}, max_output_tokens=9,
                  text={"format": {"type": "text"}, "verbosity": "medium"}, store=False, include=[])  # fmt: skip
    chat = asked.chat
    chat.check()
    assert [(m.role, m.content, len(m.tool_calls or ())) for m in chat.messages] == [
        ("system", "Be brief.", 0), ("user", "When?", 0), ("assistant", "Let me see.", 2), ("tool", "noon", 0),
        ("tool", "x", 0),
    ]  # fmt: skip
    assert (chat.choice.mode, chat.choice.name, chat.longest) == ("required", "now", 9)
    error = asked.renamed(ApiError(400, "messages[3]: the template takes no tools", param="messages[3]"))
    assert (error.body["error"]["param"], str(error)) == ("input[4]", "input[4]: the template takes no tools")
    error = asked.renamed(ApiError(400, "the messages take 9", code="context_length_exceeded", param="messages"))
    assert (error.body["error"]["param"], str(error)) == ("input", "the messages take 9")


@pytest.mark.cve("image-url")
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"messages": []}, "messages"),
        ({"input": []}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]},
         "input[0].content"),
        ({"input": [{"type": "function_call_output", "call_id": "1", "output": [{"type": "input_image"}]}]},
         "input[0].output"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"type": "function_call", "call_id": "1", "arguments": "{}"}]}, "input[0].name"),
        ({"input": [{"type": "function_call", "call_id": "1", "name": "f", "arguments": "[]"}]}, "input[0].arguments"),
        ({"input": [{"role": "user", "content": "x", "output": "y"}]}, "input[0].output"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "parameters": {}}]}, "tools[0].name"),
        ({"tools": [TOOL | {"parameters": {"type": "object", "anyOf": [True] * 1000}}]}, "tools[0].parameters"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tools": [TOOL], "text": {"format": {"type": "json_object"}}}, "text"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"$ref": "#"}}}}, "text.format.schema"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
        ({"max_tokens": 3}, "max_tokens"),
    ],
)  # fmt: skip
def test_what_is_not_honoured_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    def checked() -> None:
        asked = parse(**fields)
        try:
            asked.chat.check()
        except ApiError as e:
            raise asked.renamed(e) from None

    with pytest.raises(ApiError) as caught:
        checked()
    assert (caught.value.status, caught.value.body["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("deltas", "types", "status"),
    [
        ([Delta("He"), Delta("llo", finish="stop")], ["message"], "completed"),
        ([Delta("I see."), Delta(calls=[CallDelta(0, "now", "{"), CallDelta(0, "", "}")]),
          Delta(calls=[CallDelta(1, "now", "{}")], finish="tool_calls")],
         ["message", "function_call", "function_call"], "completed"),
        ([Delta(calls=[CallDelta(0, "now", "{")], finish="length")], ["function_call"], "incomplete"),
        ([Delta(finish="length")], ["message"], "incomplete"),
    ],
)  # fmt: skip
def test_events_and_the_whole_response_are_as_openai_describes_them(
    deltas: list[Delta], types: list[str], status: str
) -> None:
    from openai.types.responses import Response, ResponseStreamEvent  # a second, in each worker that collects this file

    described: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    asked = parse(tools=[TOOL], metadata={"a": "b"})
    generation = GenerationRequest([1], 9, temperature=0.5)
    frames = ResponseFrames(asked, "tiny@1", generation)
    stream = frames.role() + b"".join(map(frames.delta, deltas)) + frames.end(usage_of(3, 4))
    events = [described.validate_json(frame.partition(b"\ndata: ")[2]) for frame in stream.split(b"\n\n") if frame]
    assert unknown_fields(events) == []
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == f"response.{status}"
    told = events[-1].response
    whole = Response.model_validate(ResponseFrames(asked, "tiny@1", generation).whole(deltas, usage_of(3, 4)))
    assert unknown_fields(whole) == []
    for each in (told, whole):
        assert ([item.type for item in each.output], each.status) == (types, status)
        assert each.usage
        assert (each.usage.total_tokens, each.temperature, each.output_text) == (
            7, 0.5, "".join(d.text for d in deltas))  # fmt: skip
    joined = "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta")
    assert joined == "".join(item.arguments for item in told.output if item.type == "function_call")
    done = [e.item for e in events if e.type == "response.output_item.done"]
    assert done == told.output
