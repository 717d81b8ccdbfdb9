"""Requests: what is taken, what is refused and how; frames of the answer."""

import contextlib
import json
import random
import time
from typing import Any

import pytest

from serving.errors import ApiError
from serving.openai import LONG_BODY, Frames, parse_chat, usage_of

HELLO = [{"role": "user", "content": "Hello"}]


def parse(**fields: Any):
    return parse_chat(json.dumps({"messages": HELLO} | fields).encode())


def refusal(body: bytes) -> dict[str, Any]:
    with pytest.raises(ApiError) as caught:
        parse_chat(body)
    assert caught.value.status == 400
    return caught.value.body["error"]


def test_what_changes_nothing_is_taken() -> None:
    chat = parse(n=1, logprobs=False, tools=[], tool_choice="none", user="me", store=True, logit_bias=None,
                 response_format={"type": "text"}, metadata={"a": "b"}, temperature=None)  # fmt: skip
    assert chat.messages[0].content == "Hello"


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert parse(messages=[{"role": "user", "content": parts}]).messages[0].content == "one\ntwo"


def test_one_stop_string_is_a_list_of_one() -> None:
    assert parse(stop="x").stop == ["x"]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"n": True}, "n", "unsupported_parameter"),
        ({"logprobs": True}, "logprobs", "unsupported_parameter"),
        ({"top_logprobs": 5}, "top_logprobs", "unsupported_parameter"),
        ({"tools": [{"type": "function"}]}, "tools", "unsupported_parameter"),
        ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
        ({"logit_bias": {"1": 5}}, "logit_bias", "unsupported_parameter"),
        ({"chat_template": "{{ 1 }}"}, "chat_template", "unknown_parameter"),
        ({"chat_template_kwargs": {}}, "chat_template_kwargs", "unknown_parameter"),
        ({"prompt_embeds": "AAAA"}, "prompt_embeds", "unknown_parameter"),
        ({"best_of": 4}, "best_of", "unknown_parameter"),
        ({"top_k": 4}, "top_k", "unknown_parameter"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"temperature": "1"}, "temperature", "invalid_value"),
        ({"top_p": 1.5}, "top_p", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 10**30}, "max_tokens", "invalid_value"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_value"),
        ({"seed": 2**63}, "seed", "invalid_value"),
        ({"stop": ["a"] * 5}, "stop", "invalid_value"),
        ({"stop": ["a" * 257]}, "stop[0]", "invalid_value"),
        ({"stop": ""}, "stop[0]", "invalid_value"),
        ({"stream": "yes"}, "stream", "invalid_value"),
        ({"frequency_penalty": -3}, "frequency_penalty", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": "Hello"}, "messages", "invalid_value"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "invalid_value"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages[0].name", "unknown_parameter"),
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
    role, delta, end, *usage = frames_of(frames.role() + frames.delta(text) + frames.end("stop", usage_of(3, 2)))
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


def test_error_frames_and_bodies_have_one_form() -> None:
    error = ApiError(503, "gone", code="engine_error")
    assert json.loads(error.frame().removeprefix(b"data: ")) == {
        "error": {"message": "gone", "type": "server_error", "param": None, "code": "engine_error"}
    }
