"""OpenAI's chat completions: the request as validated, and the frames of the answer."""

import json
import time
from typing import Annotated, Any, Literal, Self, get_args
from uuid import uuid4

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from serving.errors import ApiError

LONG_BODY = 1 << 16
"""A body of more bytes is parsed on a thread, after a look at its structure."""
_SLICE = 1 << 18
# pydantic holds the interpreter lock while it parses: with more than this, for longer than 20 ms. 2,048 messages with a
# part each are 18,432 strings, and 22,528 bytes outside of them; the rest is for spaces.
_MOST_STRINGS = 20_480
_MOST_BYTES_OUTSIDE = 1 << 17
_INT64 = 2**63
Role = Literal["system", "developer", "user", "assistant"]

# Fields that would change the answer and are not honoured: only values that mean the same as silence pass.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}


def _text_of(content: Any) -> Any:
    """Join text parts; refuse everything that is no text, so that nothing is ever fetched."""
    if not isinstance(content, list):
        return content
    texts: list[str] = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str) or len(part) != 2:
            shown = kind if isinstance(kind, str) and kind != "text" else "this"
            raise PydanticCustomError("part", "part {index}: {shown} is not supported, only text parts are",
                                      {"index": index, "shown": shown[:40]})  # fmt: skip
        texts.append(part["text"])
    return "\n".join(texts)


class _Known(BaseModel):
    """Takes no field that it doesn't know. Pydantic's own `forbid` makes an error of each: 20,000 take 0.1 s."""

    model_config = ConfigDict(extra="allow", strict=True)

    @model_validator(mode="after")
    def _no_others(self) -> Self:
        if self.model_extra:
            raise PydanticCustomError("unknown", "it is not known", {"name": next(iter(self.model_extra))})
        return self


class ChatMessage(_Known):
    """One message of a conversation; its content is text, whatever form it came in."""

    role: Role
    content: Annotated[str, BeforeValidator(_text_of)]


class StreamOptions(_Known):
    """Of a stream."""

    include_usage: bool = False
    include_obfuscation: bool = False


Stop = Annotated[str, Field(min_length=1, max_length=256)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]


class ChatRequest(_Known):
    """A body of /v1/chat/completions. null means the same as silence."""

    messages: Annotated[list[ChatMessage], FailFast()] = Field(min_length=1, max_length=2048)
    model: str | None = Field(default=None, max_length=256)
    max_tokens: int | None = Field(default=None, ge=1, lt=_INT64)
    max_completion_tokens: int | None = Field(default=None, ge=1, lt=_INT64)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    stop: list[Stop] | None = Field(default=None, max_length=4)
    seed: int | None = Field(default=None, ge=-_INT64, lt=_INT64)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None

    n: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    logit_bias: Any = None
    tools: Any = None
    tool_choice: Any = None
    functions: Any = None
    function_call: Any = None
    response_format: Any = None
    modalities: Any = None

    # These change no answer here.
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    parallel_tool_calls: Any = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator(*_NEUTRAL)
    @classmethod
    def _only_neutral(cls, value: Any, info: Any) -> Any:
        if value is not None and not any(type(value) is type(v) and value == v for v in _NEUTRAL[info.field_name]):
            raise PydanticCustomError("unsupported", "this server does not support it with this value")
        return value


def parse_chat(body: bytes) -> ChatRequest:
    """Validate a body.

    Raises:
        ApiError: 400, naming the parameter.
    """
    if len(body) > LONG_BODY:
        _check_structure(body)
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
    kind, place = first["type"], _place(first["loc"])
    if kind == "json_invalid":
        raise ApiError(400, f"the body is not JSON: {first['msg']}", code="invalid_json")
    if kind == "unknown":
        place = _place((*first["loc"], first.get("ctx", {})["name"]))
        raise ApiError(400, f"{place} is not supported by this server", code="unknown_parameter", param=place)
    code = {"missing": "missing_required_parameter", "unsupported": "unsupported_parameter"}.get(kind, "invalid_value")
    message = "it is missing" if kind == "missing" else first["msg"]
    raise ApiError(400, f"{place or 'the body'}: {message}", code=code, param=place)


def longest_body(text: int) -> int:
    """Bytes that a body may have whose texts have so many characters: JSON may write each as two escapes."""
    return 12 * text + _MOST_BYTES_OUTSIDE


def _check_structure(body: bytes) -> None:
    """Refuse a long body that is not mostly text. In slices, so that other threads get the interpreter in between.

    Raises:
        ApiError: 400, it has more fields and elements than a conversation has.
    """
    strings = outside = inside = 0
    rest = b""
    for start in range(0, len(body), _SLICE):
        part = rest + body[start : start + _SLICE]
        backslashes = len(part) - len(part.rstrip(b"\\"))
        rest = part[-1:] if backslashes % 2 else b""  # its other half is in the next slice
        pieces = part.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside += sum(map(len, pieces[inside::2]))
        strings += len(pieces) // 2
        inside ^= (len(pieces) - 1) & 1
        if strings > _MOST_STRINGS or outside > _MOST_BYTES_OUTSIDE:
            raise ApiError(400, "the body has more fields and elements than a conversation", code="invalid_value")


def _place(loc: tuple[int | str, ...]) -> str:
    """messages[0].content; a caller's own names are cut."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part[:64]}" if text else part[:64]
    return text


def roles() -> tuple[str, ...]:
    """The roles that are taken."""
    return get_args(Role)


class Frames:
    """Builds the answer to one request: server-sent events, or one object."""

    def __init__(self, model: str, fingerprint: str, *, with_usage: bool = False) -> None:
        self._with_usage = with_usage
        self._head = {
            "id": f"chatcmpl-{uuid4().hex}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint,
        }
        # A token's frame is written thousands of times: all but its text is encoded once.
        usage = ',"usage":null' if with_usage else ""
        chunk = json.dumps({**self._head, "object": "chat.completion.chunk"}, separators=(",", ":"))
        self._before = f'data: {chunk[:-1]},"choices":[{{"index":0,"delta":'
        self._after = f',"logprobs":null,"finish_reason":null}}]{usage}}}\n\n'

    def role(self) -> bytes:
        """The first frame."""
        return f'{self._before}{{"role":"assistant","content":""}}{self._after}'.encode()

    def delta(self, text: str) -> bytes:
        """A frame with text."""
        return f'{self._before}{{"content":{json.dumps(text)}}}{self._after}'.encode()

    def end(self, finish: str, usage: dict[str, int]) -> bytes:
        """The last frames."""
        after = self._after.replace('"finish_reason":null', f'"finish_reason":{json.dumps(finish)}')
        frames = f"{self._before}{{}}{after}"
        if self._with_usage:
            chunk = {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage}
            frames += f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n"
        return f"{frames}data: [DONE]\n\n".encode()

    def whole(self, text: str, finish: str, usage: dict[str, int]) -> dict[str, Any]:
        """The answer as one object."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": usage}


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
