"""OpenAI's responses API, without storage: a validated request, and the chat request that answers it.

https://platform.openai.com/docs/api-reference/responses/create
"""

import re
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, FailFast, Field, model_validator
from pydantic_core import PydanticCustomError

from llmops_kit.core.json_schema.bounds import LIMITS
from llmops_kit.core.json_values import read_json
from llmops_kit.serving.api.openai import (
    ChatMessage,
    ChatRequest,
    StreamOptions,
    check_stream_options,
    joined_parts,
    parse_body,
)
from llmops_kit.serving.api.request_bodies import Only, StrictBody
from llmops_kit.serving.api.tools import (
    MAX_TOOLS,
    AssistantCall,
    AssistantFunction,
    Mode,
    OfferedFunction,
    OfferedTool,
    ResponseFormat,
    SchemaFormat,
    ToolChoice,
    ToolName,
)
from llmops_kit.serving.errors import ApiError

_MOST_ITEMS = 2047
_FIELDS_OF: dict[str, tuple[str, ...]] = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
}
_PLACES = (
    (re.compile(r"^tools\[(\d+)\]\.function\b"), r"tools[\1]"),
    (re.compile(r"^response_format\.json_schema\b"), "text.format"),
    (re.compile(r"^response_format\b"), "text.format"),
    (re.compile(r"^messages\b"), "input"),
)
"""Patterns of chat completions' parameters -> their names in the responses API."""


def _text(content: Any) -> Any:
    return joined_parts(content, kinds=("input_text", "output_text"), empty=("annotations", "logprobs"))


class ResponseTextPart(StrictBody):
    """A part of an item's content: text, the only supported kind."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    logprobs: Annotated[list[Any], Field(max_length=0)] | None = None


_FROM_PARTS = BeforeValidator(_text, json_schema_input_type=str | list[ResponseTextPart] | None)


def _object(text: str | None) -> str | None:
    try:
        if text and not isinstance(read_json(text), dict):
            raise ValueError("it is not an object")
    except ValueError as e:
        raise PydanticCustomError("arguments", "{what}", {"what": str(e)}) from None
    return text


class InputItem(StrictBody):
    """An item of the input: a message, a call that the model wrote, or a call's result."""

    type: Literal["message", "function_call", "function_call_output"] = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: Annotated[str | None, _FROM_PARTS] = None
    call_id: str | None = Field(default=None, max_length=256)
    name: ToolName | None = None
    arguments: Annotated[str | None, Field(max_length=LIMITS.characters), AfterValidator(_object)] = None
    output: Annotated[str | None, _FROM_PARTS] = None

    # An answer's fields, which clients send back with it.
    id: str | None = Field(default=None, max_length=256)
    status: Literal["in_progress", "completed", "incomplete"] | None = None
    phase: None = None
    caller: None = None
    namespace: None = None

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        fields = _FIELDS_OF[self.type]
        for name in ("role", "content", "call_id", "name", "arguments", "output"):
            if name in fields and getattr(self, name) is None:
                raise PydanticCustomError("lacking", "it is missing", {"name": name})
            if name not in fields and getattr(self, name) is not None:
                raise PydanticCustomError("misplaced", "this type of item does not have it", {"name": name})
        return self


class FunctionTool(StrictBody):
    """A function that the model may call."""

    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class TextFormat(StrictBody):
    """The form of an answer's text."""

    type: Literal["text", "json_object", "json_schema"]
    name: ToolName | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for name, value in (("name", self.name), ("schema", self.schema_)):
            if self.type == "json_schema" and value is None:
                raise PydanticCustomError("lacking", "it is missing", {"name": name})
        return self


class TextOptions(StrictBody):
    """`text`: the format of the answer; of `verbosity` only the default is accepted."""

    format: TextFormat | None = None
    verbosity: Annotated[Any, Only(("medium",))] = None


class NamedResponseTool(StrictBody):
    """The tool that the model must call."""

    type: Literal["function"]
    name: str


def _tool_choice(value: Any) -> Any:
    match value:
        case None | ToolChoice():
            return value
        case "auto" | "none" | "required":
            return ToolChoice(value)
        case {"type": "function", "name": str(name)} if len(value) == 2:
            return ToolChoice("required", name)
    raise PydanticCustomError(
        "choice", "it is auto, none, required or {name}", {"name": '{"type": "function", "name": …}'}
    )


ResponseChoice = Annotated[Any, BeforeValidator(_tool_choice, json_schema_input_type=Mode | NamedResponseTool | None)]
"""`tool_choice` of a response."""


def _items(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


_Items = Annotated[list[InputItem], Field(min_length=1, max_length=_MOST_ITEMS)]
_FROM_TEXT = BeforeValidator(_items, json_schema_input_type=str | _Items)


class ResponsesRequest(StrictBody):
    """A body of /v1/responses. null means the same as an absent field."""

    model: str | None = Field(default=None, max_length=256)
    input: Annotated[list[InputItem], FailFast(), _FROM_TEXT] = Field(min_length=1, max_length=_MOST_ITEMS)
    instructions: str | None = None
    max_output_tokens: int | None = Field(default=None, ge=1, lt=2**63)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[FunctionTool] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_choice: ResponseChoice = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    metadata: dict[str, str] | None = Field(default=None, max_length=16)

    background: Annotated[Any, Only((False,))] = None
    context_management: Annotated[Any, Only(([],))] = None
    conversation: Annotated[Any, Only()] = None
    include: Annotated[Any, Only(([],))] = None
    max_tool_calls: Annotated[Any, Only()] = None
    moderation: Annotated[Any, Only()] = None
    previous_response_id: Annotated[Any, Only()] = None
    prompt: Annotated[Any, Only()] = None
    reasoning: Annotated[Any, Only(({},))] = None
    store: Annotated[Any, Only((False,))] = None
    top_logprobs: Annotated[Any, Only((0,))] = None
    truncation: Annotated[Any, Only(("disabled",))] = None

    # These have no effect on answers.
    prompt_cache_key: str | None = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        if self.tools and self.choice.mode != "none" and self._format:
            what = "its format is not supported together with tools that may be called"
            raise PydanticCustomError("unsupported_together", what, {"name": "text"})
        return self

    @property
    def choice(self) -> ToolChoice:
        """Whether the model may call tools."""
        return ToolChoice.of(self.tool_choice, self.tools)

    @cached_property
    def chat(self) -> ChatRequest:
        """The chat completion that computes the answer."""
        return ChatRequest(
            model=self.model,
            messages=[message for message, _ in self._messages],
            max_completion_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            stream=self.stream,
            tools=[offered(tool) for tool in self.tools] if self.tools else None,
            tool_choice=self.tool_choice,
            parallel_tool_calls=self.parallel_tool_calls,
            response_format=self._format,
        )

    def renamed(self, error: ApiError) -> ApiError:
        """Returns an error about the chat request with the parameters of this one."""
        param = error.body["error"]["param"] or ""
        if place := re.match(r"messages\[(\d+)\]", param):
            param = f"input[{self._messages[int(place[1])][1]}]"
        return renamed(error, param)

    @property
    def _format(self) -> ResponseFormat | None:
        """The chat request's response_format; None: any text."""
        return chat_format(self.text.format if self.text else None)

    @cached_property
    def _messages(self) -> list[tuple[ChatMessage, int]]:
        """The chat's messages, each with the index of its first item; consecutive calls are one message."""
        found: list[tuple[ChatMessage, int]] = []
        if self.instructions is not None:
            found.append((ChatMessage(role="system", content=self.instructions), 0))
        for number, item in enumerate(self.input):
            if item.type == "function_call":
                call = AssistantCall(
                    id=item.call_id or "",
                    function=AssistantFunction(name=item.name or "", arguments=item.arguments or ""),
                )
                last = found[-1][0] if found else None
                if last and last.role == "assistant" and len(last.tool_calls or ()) < MAX_TOOLS:
                    last.tool_calls = [*(last.tool_calls or ()), call]
                else:
                    found.append((ChatMessage(role="assistant", tool_calls=[call]), number))
            elif item.type == "function_call_output":
                found.append((ChatMessage(role="tool", content=item.output, tool_call_id=item.call_id), number))
            elif item.role:
                found.append((ChatMessage(role=item.role, content=item.content), number))
        return found


def offered(tool: FunctionTool) -> OfferedTool:
    """Returns a tool of a response as a tool of a chat request."""
    function = OfferedFunction(
        name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict
    )
    return OfferedTool(type="function", function=function)


def chat_format(form: TextFormat | None) -> ResponseFormat | None:
    """Returns the format of a response's text as that of a chat request; None: any text."""
    if form is None or form.type == "text":
        return None
    if form.name is None or form.schema_ is None or form.type == "json_object":
        return ResponseFormat(type="json_object")
    schema = SchemaFormat(name=form.name, description=form.description, schema=form.schema_, strict=form.strict)
    return ResponseFormat(type="json_schema", json_schema=schema)


def renamed(error: ApiError, param: str = "") -> ApiError:
    """Returns an error about a parameter of a chat request with the parameter's name in the responses API.

    Args:
        error: of the chat request.
        param: the location, if it differs from the error's.
    """
    old = error.body["error"]["param"] or ""
    param = param or old
    for pattern, name in _PLACES:
        param = pattern.sub(name, param)
    told = error.body["error"]["message"]
    message = param + told.removeprefix(old) if old and told.startswith(old) else told
    code = error.body["error"]["code"] or ""
    return ApiError(error.status, message, code=code, param=param, retry_after=error.retry_after)


def parse_responses(body: bytes) -> ResponsesRequest:
    """Validates a body of /v1/responses.

    Raises:
        ApiError: 400, naming the parameter.
    """
    request = parse_body(body, ResponsesRequest)
    check_stream_options(request.stream_options, request.stream)
    _ = request.chat  # cached now: for a long body this runs on a thread
    return request
