"""OpenAI's chat completions, completions and embeddings: validated requests."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BeforeValidator, FailFast, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from llmops_kit.serving.api.request_bodies import Only, StrictBody
from llmops_kit.serving.api.tools import (
    MAX_TOOLS,
    AssistantCall,
    Choice,
    OfferedTool,
    ResponseFormat,
    ToolChoice,
    check_format,
    check_tools,
    schemas_of,
)  # fmt: skip
from llmops_kit.serving.errors import ApiError

LONG_BODY = 1 << 16
"""Bytes above which a body is parsed on a thread, after a check of its structure."""
_SLICE = 1 << 18
# pydantic holds the interpreter lock while it parses, for longer than 20 ms beyond these limits. 2,048 messages with
# one part each are 18,432 strings, and 22,528 bytes outside of them; the rest is for spaces.
_MOST_STRINGS = 20_480
_MOST_BYTES_OUTSIDE = 1 << 17
_INT64 = 2**63
MAX_ANSWERS = 8
Role = Literal["system", "developer", "user", "assistant", "tool"]


class TextPart(StrictBody):
    """A part of a message's content: text, the only supported kind."""

    type: Literal["text"]
    text: str


def joined_parts(content: Any, *, kinds: tuple[str, ...] = ("text",), empty: tuple[str, ...] = ()) -> Any:
    """Joins text parts; rejects all other parts, so that nothing is ever fetched.

    Args:
        content: a text, or a list of parts.
        kinds: the types of text parts.
        empty: further fields that a part may have, if they are empty.
    """
    if not isinstance(content, list):
        return content
    texts: list[str] = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        known = isinstance(kind, str) and kind in kinds and isinstance(part.get("text"), str)
        if not known or any(name not in empty or part[name] for name in part.keys() - {"type", "text"}):
            shown = kind if isinstance(kind, str) and kind not in kinds else "this"
            raise PydanticCustomError("part", "part {index}: {shown} is not supported, only text parts are",
                                      {"index": index, "shown": shown[:40]})  # fmt: skip
        texts.append(part["text"])
    return "\n".join(texts)


class ChatMessage(StrictBody):
    """One message of a conversation; its content becomes text, from a string or text parts."""

    role: Role
    content: Annotated[
        str | None, BeforeValidator(joined_parts, json_schema_input_type=str | list[TextPart] | None)
    ] = None
    """None only beside `tool_calls`."""
    name: str | None = Field(default=None, max_length=64)
    tool_calls: list[AssistantCall] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_call_id: str | None = Field(default=None, max_length=256)

    # An answer's fields, which clients send back with it.
    refusal: None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    audio: None = None
    function_call: None = None

    @model_validator(mode="after")
    def _fits_its_role(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise PydanticCustomError("misplaced", "only the assistant calls tools", {"name": "tool_calls"})
        if self.tool_call_id is not None and self.role != "tool":
            raise PydanticCustomError("misplaced", "only a tool's message has it", {"name": "tool_call_id"})
        if self.content is None and not self.tool_calls:
            if "content" in self.model_fields_set:
                raise PydanticCustomError("misplaced", "it is null, and there are no tool_calls", {"name": "content"})
            raise PydanticCustomError("lacking", "it is missing", {"name": "content"})
        return self


class StreamOptions(StrictBody):
    """`stream_options`: `include_usage` adds a last chunk with the usage."""

    include_usage: bool = False
    include_obfuscation: bool = False


class TextStreamOptions(StreamOptions):
    """`stream_options` of chats and texts: vLLM's `continuous_usage_stats` adds the usage so far to every chunk of a
    stream with `include_usage`, and nothing without, as with vLLM.
    """

    continuous_usage_stats: bool | None = None


Stop = Annotated[str, Field(min_length=1, max_length=256)]
Stops = Annotated[list[Stop], Field(max_length=4)]


def _one_stop(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Input = Annotated[str, Field(min_length=1)]
Inputs = Annotated[list[Input], Field(min_length=1, max_length=2048)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]


class GenerationOptions(StrictBody):
    """Options of both kinds of requests. null means the same as an absent field."""

    model: str | None = Field(default=None, max_length=256)
    max_tokens: int | None = Field(default=None, ge=1, lt=_INT64)
    min_tokens: int | None = Field(default=None, ge=0, lt=_INT64)
    ignore_eos: bool | None = None
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    n: int | None = Field(default=None, ge=1, le=MAX_ANSWERS)
    stop: Annotated[Stops | None, BeforeValidator(_one_stop, json_schema_input_type=Stop | Stops | None)] = None
    seed: int | None = Field(default=None, ge=-_INT64, lt=_INT64)
    stream: bool | None = None
    stream_options: TextStreamOptions | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: Annotated[Any, Only(({},))] = None
    user: str | None = None  # has no effect on answers

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.min_tokens and self.longest and self.min_tokens > self.longest:
            raise PydanticCustomError("misplaced", "it is more than the longest answer", {"name": "min_tokens"})
        return self

    @property
    def longest(self) -> int | None:
        """Requested maximum tokens of an answer."""
        return self.max_tokens

    @property
    def continuous_usage(self) -> bool:
        """Whether every chunk of the stream has its answer's usage so far."""
        options = self.stream_options
        return bool(options and options.include_usage and options.continuous_usage_stats)

    @property
    def answers(self) -> int:
        """Number of requested answers."""
        return self.n or 1


class ChatRequest(GenerationOptions):
    """A body of /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], FailFast()] = Field(min_length=1, max_length=2048)
    max_completion_tokens: int | None = Field(default=None, ge=1, lt=_INT64)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: list[OfferedTool] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_choice: Choice = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None

    functions: Annotated[Any, Only(([],))] = None
    function_call: Annotated[Any, Only(("none", "auto"))] = None
    modalities: Annotated[Any, Only((["text"],))] = None

    # These have no effect on answers.
    metadata: dict[str, str] | None = Field(default=None, max_length=16)
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise PydanticCustomError("misplaced", "it needs logprobs", {"name": "top_logprobs"})
        if self.offered and self.schema is not None:
            what = "it is not supported together with tools that may be called"
            raise PydanticCustomError("unsupported_together", what, {"name": "response_format"})
        return self

    @property
    def longest(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def choice(self) -> ToolChoice:
        """Whether the model may call tools."""
        return ToolChoice.of(self.tool_choice, self.tools)

    @property
    def offered(self) -> list[OfferedTool]:
        """The tools that the model may call."""
        return (self.tools or []) if self.choice.mode != "none" else []

    @property
    def schema(self) -> dict[str, Any] | None:  # pyright: ignore[reportIncompatibleMethodOverride] (pydantic's, deprecated)
        """The JSON schema for the answer; None: any text."""
        form = self.response_format
        if form is None or form.type == "text":
            return None
        return form.json_schema.schema_ if form.json_schema else {"type": "object"}

    def check(self) -> None:
        """Checks tools beyond their types, and that schemas are within the limits.

        Raises:
            ApiError: 400, naming the location.
        """
        if self.tools is not None or self.tool_choice is not None:
            check_tools(self.tools or [], self.choice)
        if self.response_format:
            check_format(self.response_format)

    @property
    def schemas(self) -> dict[str, Any]:
        """The JSON schemas by their location. They may be invalid: the caller controls how long a check takes, so
        `SchemaChecks` does it.
        """
        return schemas_of(self.tools, self.response_format)


class CompletionRequest(GenerationOptions):
    """A body of /v1/completions: a text that the model continues, without its chat template."""

    prompt: str = Field(min_length=1)
    logprobs: Annotated[Any, Only()] = None
    echo: Annotated[Any, Only((False,))] = None
    suffix: Annotated[Any, Only(("",))] = None
    best_of: Annotated[Any, Only((1,))] = None


class EmbeddingRequest(StrictBody):
    """A body of /v1/embeddings."""

    model: str | None = Field(default=None, max_length=256)
    input: Inputs
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(default=None, ge=1, lt=_INT64)
    user: str | None = None  # has no effect on answers

    @field_validator("input", mode="before", json_schema_input_type=Input | Inputs)
    @classmethod
    def _one_input(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


_Body = TypeVar("_Body", bound=StrictBody)
_CODES = {
    "missing": "missing_required_parameter",
    "lacking": "missing_required_parameter",
    "unsupported": "unsupported_parameter",
    "unsupported_together": "unsupported_parameter",
    "unknown": "unknown_parameter",
}
_NAMED = ("unknown", "lacking", "misplaced", "unsupported_together")
"""Errors about a whole part that name one of its fields."""


def parse_chat(body: bytes) -> ChatRequest:
    """Validates a body of /v1/chat/completions.

    Raises:
        ApiError: 400, naming the parameter.
    """
    return parse_body(body, ChatRequest)


def parse_completion(body: bytes) -> CompletionRequest:
    """Validates a body of /v1/completions.

    Raises:
        ApiError: 400, naming the parameter.
    """
    return parse_body(body, CompletionRequest)


def parse_embedding(body: bytes) -> EmbeddingRequest:
    """Validates a body of /v1/embeddings.

    Raises:
        ApiError: 400, naming the parameter.
    """
    return parse_body(body, EmbeddingRequest)


def parse_body(body: bytes, kind: type[_Body]) -> _Body:
    """Validates a body of any route.

    Raises:
        ApiError: 400, naming the parameter.
    """
    if len(body) > LONG_BODY:
        _check_structure(body)
    try:
        return kind.model_validate_json(body)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
    fault, message, loc = first["type"], first["msg"], first["loc"]
    if fault == "json_invalid":
        raise ApiError(400, f"the body is not JSON: {message}", code="invalid_json")
    place = _place((*loc, first.get("ctx", {})["name"]) if fault in _NAMED else loc)
    if fault == "unknown":
        raise ApiError(400, f"{place} is not supported by this server", code="unknown_parameter", param=place)
    message = "it is missing" if fault == "missing" else message
    code = "invalid_type" if place and fault.endswith("_type") else _CODES.get(fault, "invalid_value")
    raise ApiError(400, f"{place or 'the body'}: {message}", code=code, param=place)


def check_stream_options(options: object, stream: object) -> None:
    """Refuses the options of a stream for an answer that is none.

    Raises:
        ApiError: 400, naming the parameter.
    """
    if options is not None and not stream:
        raise ApiError(400, "stream_options needs stream", code="invalid_value", param="stream_options")


def longest_body(text: int) -> int:
    """Returns the maximum bytes of a body whose texts have `text` characters: JSON may write each as two escapes."""
    return 12 * text + _MOST_BYTES_OUTSIDE


def _check_structure(body: bytes) -> None:
    """Rejects a long body that is not mostly text. Works in slices, so that other threads get the interpreter lock in
    between.

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
    """Returns a location such as messages[0].content; truncates a caller's own names."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part[:64]}" if text else part[:64]
    return text
