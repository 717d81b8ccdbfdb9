"""Requests: what is taken, what is refused and how; frames of the answer."""

import contextlib
import json
import random
import time
from typing import Any

import pytest

from llmops_kit.core.models.tool_call_stream import CallDelta
from llmops_kit.serving.api.frames import CompletionFrames, Delta, Frames, TokenChance, usage_of
from llmops_kit.serving.api.openai import LONG_BODY, parse_chat, parse_completion
from llmops_kit.serving.errors import ApiError

HELLO = [{"role": "user", "content": "Hello"}]


def tool(name: str = "now", **parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"} | parameters}}


def schema(**keywords: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": keywords}}


def call(arguments: str = "{}") -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": arguments}}


def parse(**fields: Any):
    return parse_chat(json.dumps({"messages": HELLO} | fields).encode())


def refusal(body: bytes) -> dict[str, Any]:
    with pytest.raises(ApiError) as caught:
        parse_chat(body).check()
    assert caught.value.status == 400
    return caught.value.body["error"]


def test_what_changes_nothing_is_taken() -> None:
    chat = parse(n=1, logprobs=False, tools=[], tool_choice="auto", user="me", store=True, logit_bias=None,
                 response_format={"type": "text"}, metadata={"a": "b"}, temperature=None)  # fmt: skip
    assert chat.messages[0].content == "Hello"


def test_a_conversation_with_tools_is_taken_as_clients_send_it_back() -> None:
    answered = {"role": "assistant", "content": None, "refusal": None, "annotations": [], "audio": None,
                "function_call": None, "tool_calls": [call('{"a": 1}') | {"index": 0}]}  # fmt: skip
    result = {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "noon"}]}
    choice = {"type": "function", "function": {"name": "now"}}
    chat = parse(messages=[*HELLO, answered, result], tools=[tool()], tool_choice=choice, parallel_tool_calls=False)
    chat.check()
    assert (chat.choice.mode, chat.choice.name) == ("required", "now")
    assert chat.messages[2].content == "noon"
    assert chat.schemas == {"tools[0].function.parameters": {"type": "object"}}
    assert parse(tools=[tool()], tool_choice="none").offered == []
    held = parse(response_format=schema(type="string"))
    assert held.schemas == {"response_format.json_schema.schema": {"type": "string"}}
    assert parse().schemas == {}
    assert parse(response_format={"type": "json_object"}).schema == {"type": "object"}


def test_a_completion_takes_a_text_and_refuses_what_it_does_not_honour() -> None:
    assert parse_completion(b'{"prompt": "Once", "echo": false, "best_of": 1, "n": 2}').answers == 2
    for body, param in ((b'{"prompt": "x", "echo": true}', "echo"), (b'{"prompt": "x", "logprobs": 0}', "logprobs"),
                        (b'{"prompt": [1]}', "prompt"), (b'{"prompt": "x", "messages": []}', "messages")):  # fmt: skip
        with pytest.raises(ApiError) as caught:
            parse_completion(body)
        assert caught.value.body["error"]["param"] == param


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert parse(messages=[{"role": "user", "content": parts}]).messages[0].content == "one\ntwo"


def test_one_stop_string_is_a_list_of_one() -> None:
    assert parse(stop="x").stop == ["x"]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"n": 9}, "n", "invalid_value"),
        ({"n": True}, "n", "invalid_type"),
        ({"top_logprobs": 5}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"min_tokens": 5, "max_tokens": 4}, "min_tokens", "invalid_value"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "missing_required_parameter"),
        ({"tools": [tool("a b")]}, "tools[0].function.name", "invalid_value"),
        ({"tools": [tool(), tool()]}, "tools[1].function.name", "invalid_value"),
        ({"tools": [tool(type="string")]}, "tools[0].function.parameters.type", "invalid_value"),
        ({"tools": [tool(pattern=r"\w{999}")]}, "tools[0].function.parameters", "invalid_value"),
        (
            {"tools": [tool(f"t{i}", enum=list(range(600))) for i in range(2)]},
            "tools[1].function.parameters",
            "invalid_value",
        ),
        (
            {"tools": [tool(x={"$ref": "http://x"}, properties={"a": {"$ref": "http://x"}})]},
            "tools[0].function.parameters",
            "invalid_value",
        ),
        ({"tools": [tool()] * 129}, "tools", "invalid_value"),
        ({"tools": [tool()], "tool_choice": "any"}, "tool_choice", "invalid_value"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        (
            {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
            "invalid_value",
        ),
        ({"tools": [tool()], "response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        ({"response_format": schema(**{"$ref": "#"})}, "response_format.json_schema.schema", "invalid_value"),
        ({"response_format": schema(const="x" * 32_768)}, "response_format.json_schema.schema", "invalid_value"),
        ({"logit_bias": {"1": 5}}, "logit_bias", "unsupported_parameter"),
        ({"chat_template": "{{ 1 }}"}, "chat_template", "unknown_parameter"),
        ({"chat_template_kwargs": {}}, "chat_template_kwargs", "unknown_parameter"),
        ({"prompt_embeds": "AAAA"}, "prompt_embeds", "unknown_parameter"),
        ({"best_of": 4}, "best_of", "unknown_parameter"),
        ({"top_k": 4}, "top_k", "unknown_parameter"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"temperature": "1"}, "temperature", "invalid_type"),
        ({"top_p": 1.5}, "top_p", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 10**30}, "max_tokens", "invalid_value"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_type"),
        ({"seed": 2**63}, "seed", "invalid_value"),
        ({"stop": ["a"] * 5}, "stop", "invalid_value"),
        ({"stop": ["a" * 257]}, "stop[0]", "invalid_value"),
        ({"stop": ""}, "stop[0]", "invalid_value"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"frequency_penalty": -3}, "frequency_penalty", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": "Hello"}, "messages", "invalid_type"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "invalid_value"),
        (
            {"messages": [{"role": "user", "content": "x", "tool_calls": [call()]}]},
            "messages[0].tool_calls",
            "invalid_value",
        ),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "invalid_value"),
        ({"messages": [{"role": "user", "content": "x", "nome": "y"}]}, "messages[0].nome", "unknown_parameter"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
            "messages[0].content",
            "invalid_value",
        ),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(fields: dict[str, Any], param: str, code: str) -> None:
    error = refusal(json.dumps({"messages": HELLO} | fields).encode())
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert error["message"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"messages": [{"role":"user","content":"\\ud800"}]}', b"[" * 100_000,
     b'{"messages":' + b'{"a":' * 5000, b'{"temperature": NaN, "messages": []}', b'"' + b"x" * 100],
)  # fmt: skip
def test_what_is_no_request_is_refused(body: bytes) -> None:
    assert refusal(body)["type"] == "invalid_request_error"


def test_mangled_requests_never_do_worse_than_400() -> None:
    generator = random.Random(0)
    good = json.dumps({"messages": HELLO, "stop": ["a"], "temperature": 0.5, "stream_options": {}}).encode()
    for _ in range(3000):
        body = bytearray(good)
        for _ in range(generator.randrange(1, 6)):
            place = generator.randrange(len(body))
            body[place : place + generator.randrange(3)] = generator.randbytes(generator.randrange(3))
        try:
            parse_chat(bytes(body))
        except ApiError as e:
            assert e.status == 400  # noqa: PT017 (most of them pass or raise; either is right)


MILLIONS = 6_000_000
_OPEN = b'{"messages":[{"role":"user","content":"x"}],'


@pytest.mark.vulnerability(8)
@pytest.mark.parametrize(
    "body",
    [
        _OPEN + b'"tools":[' + b"[]," * (MILLIONS // 3) + b"[]]}",
        _OPEN + b",".join(b'"%d":0' % i for i in range(MILLIONS // 12)) + b"}",
        b'{"messages":[' + b",".join([b'{"":""}'] * (MILLIONS // 8)) + b"]}",
        b'{"messages":[' + b",".join([b'{"role":"user","content":"x"}'] * (MILLIONS // 30)) + b"]}",
        b'{"messages":[{"role":"user","content":[' + b",".join([b'{"type":"text","text":""}'] * 240_000) + b"]}]}",
        _OPEN + b'"seed":' + b"1" * MILLIONS + b"}",
        b" " * MILLIONS + b"{}",
        b'{"messages":[' + b",".join([b'{"a":"","b":"","c":"","d":"","e":""}'] * 1700) + b"]}",
    ],
    ids=["arrays", "fields", "bad messages", "messages", "parts", "number", "spaces", "errors"],
)
def test_vulnerability_8_no_body_takes_longer_than_a_text_of_its_length(body: bytes) -> None:
    """The interpreter is held meanwhile. They took 20 to 200 times as long; processor time, so that no other process
    counts, and against the text's in the same moment."""
    text = json.dumps({"messages": [{"role": "user", "content": "\\u00e9" * (MILLIONS // 7)}]}).encode()
    usual = _seconds(text)
    assert _seconds(body) < 3 * usual


def _seconds(body: bytes) -> float:
    begun = time.thread_time()
    with contextlib.suppress(ApiError):
        parse_chat(body)
    return time.thread_time() - begun


def test_a_long_conversation_is_taken_however_its_text_is_written() -> None:
    turns = [
        {"role": "user", "content": [{"type": "text", "text": f'{i}: \\ " \\" \n é 世🙂 {{[,:' * 3}]}
        for i in range(2048)
    ]
    for body in (
        json.dumps({"messages": turns}).encode(),
        json.dumps({"messages": turns}, ensure_ascii=False).encode(),
    ):
        assert len(body) > LONG_BODY
        assert [m.content for m in parse_chat(body).messages] == [t["content"][0]["text"] for t in turns]


def frames_of(data: bytes) -> list[dict[str, Any]]:
    *frames, done, rest = data.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [json.loads(frame.removeprefix(b"data: ")) for frame in frames]


@pytest.mark.parametrize("with_usage", [False, True])
def test_a_stream_is_framed_as_openai_does(with_usage: bool) -> None:
    frames = Frames("m@1", "fp", with_usage=with_usage)
    text = 'line\n"quoted" 🙂\u2028'
    written = (
        frames.role() + frames.delta(Delta(text)) + frames.delta(Delta(finish="stop")) + frames.end(usage_of(3, 2))
    )
    role, delta, end, *usage = frames_of(written)
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert delta["choices"][0]["delta"] == {"content": text}
    assert end["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert len({(f["id"], f["created"], f["model"], f["object"]) for f in (role, delta, end, *usage)}) == 1
    if with_usage:
        assert (usage[0]["choices"], usage[0]["usage"]["total_tokens"]) == ([], 5)
        assert role["usage"] is None
    else:
        assert not usage
        assert "usage" not in role


@pytest.mark.parametrize(("kind", "chat"), [(Frames, True), (CompletionFrames, False)])
def test_every_frame_has_the_usage_so_far_if_it_was_asked_for(kind: type[Frames], chat: bool) -> None:
    frames = kind("m@1", "fp", with_usage=True, continuous=3)
    deltas = [Delta("a", tokens=1), Delta("b", finish="stop", tokens=4)]
    written = frames.role() + b"".join(map(frames.delta, deltas)) + frames.end(usage_of(3, 4))
    told = [frame["usage"] for frame in frames_of(written)]
    assert told == [usage_of(3, tokens) for tokens in ([0] if chat else []) + [1, 4, 4, 4]]


def test_the_usage_so_far_needs_the_usage_and_has_a_type() -> None:
    for options, continuous in (
        ({"include_usage": True, "continuous_usage_stats": True}, True),
        ({"include_usage": True, "continuous_usage_stats": None}, False),
        ({"continuous_usage_stats": True}, False),
    ):
        assert parse(stream=True, stream_options=options).continuous_usage == continuous
    error = refusal(json.dumps({"messages": HELLO, "stream_options": {"continuous_usage_stats": 1}}).encode())
    assert error["param"] == "stream_options.continuous_usage_stats"


CALLING = [
    Delta("Wait. ", chances=[TokenChance("W", b"W", -0.5, (TokenChance("V", b"V", -1.0),))]),
    Delta(calls=[CallDelta(0, "now", ""), CallDelta(0, "", '{"a":')], choice=1),
    Delta(calls=[CallDelta(0, "", "1}"), CallDelta(1, "later", "{}")], choice=1),
    Delta(finish="stop"),
    Delta(finish="tool_calls", choice=1),
]


def test_calls_choices_and_log_probabilities_are_framed_alike_whole_and_streamed() -> None:
    frames = Frames("m@1", "fp", answers=2)
    whole = frames.whole(CALLING, usage_of(1, 1))["choices"]
    assert [choice["finish_reason"] for choice in whole] == ["stop", "tool_calls"]
    assert whole[0]["logprobs"]["content"] == [
        {"token": "W", "logprob": -0.5, "bytes": [87], "top_logprobs": [{"token": "V", "logprob": -1.0, "bytes": [86]}]}
    ]
    assert whole[1]["message"]["content"] is None
    streamed: dict[int, list[str]] = {0: [], 1: []}
    data = frames.role() + b"".join(map(frames.delta, CALLING)) + frames.end(usage_of(1, 1))
    pieces = [frame["choices"][0] for frame in frames_of(data)]
    assert [p["delta"]["role"] for p in pieces[:2]] == ["assistant"] * 2
    for piece in pieces[2:]:
        for part in piece["delta"].get("tool_calls", ()):
            function = part["function"]
            streamed[part["index"]] += [part.get("id", "")[:5], function.get("name", ""), function["arguments"]]
    calls = [c["function"] for c in whole[1]["message"]["tool_calls"]]
    assert calls == [{"name": "now", "arguments": '{"a":1}'}, {"name": "later", "arguments": "{}"}]
    assert streamed == {0: ["call_", "now", "", "", "", '{"a":', "", "", "1}"], 1: ["call_", "later", "{}"]}


def test_a_completions_frames_hold_text() -> None:
    frames = CompletionFrames("m@1", "fp")
    first, last = frames_of(frames.role() + frames.delta(Delta("a")) + frames.delta(Delta(finish="length"))
                            + frames.end(usage_of(1, 1)))  # fmt: skip
    assert (first["object"], first["choices"][0]["text"]) == ("text_completion", "a")
    assert (last["choices"][0]["text"], last["choices"][0]["finish_reason"]) == ("", "length")
    assert frames.whole([Delta("a"), Delta(finish="stop")], usage_of(1, 1))["choices"][0]["text"] == "a"


def test_error_frames_and_bodies_have_one_form() -> None:
    error = ApiError(503, "gone", code="engine_error")
    assert json.loads(error.frame().removeprefix(b"data: ")) == {
        "error": {"message": "gone", "type": "server_error", "param": None, "code": "engine_error"}
    }
