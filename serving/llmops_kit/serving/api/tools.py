"""Tools and JSON schemas of a request, in OpenAI's form, and checks of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from llmops_kit.core.json_schema.bounds import LIMITS, SchemaBounds
from llmops_kit.serving.api.request_bodies import StrictBody
from llmops_kit.serving.errors import ApiError

MAX_TOOLS = 128
FORMAT_SCHEMA = "response_format.json_schema.schema"
"""Location of the schema that an answer must follow."""
ToolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class AssistantFunction(StrictBody):
    """Name and arguments of a call; the arguments are JSON in a string, as in OpenAI's API."""

    name: ToolName
    arguments: str = Field(max_length=LIMITS.characters)


class AssistantCall(StrictBody):
    """A call that an earlier answer made, as clients send it back."""

    id: str = Field(max_length=256)
    type: Literal["function"] = "function"
    function: AssistantFunction
    index: int | None = None
    """Sent back by clients that join a stream's pieces."""


class OfferedFunction(StrictBody):
    """A function that the model may call."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class OfferedTool(StrictBody):
    """A tool that the model may call."""

    type: Literal["function"]
    function: OfferedFunction

    @property
    def schema_text(self) -> str:
        """The schema of its arguments; without parameters, that of an empty object."""
        return json.dumps(
            self.function.parameters or {"type": "object", "properties": {}, "additionalProperties": False}
        )

    def for_template(self) -> dict[str, Any]:
        """Returns the tool in the form that chat templates take."""
        return self.model_dump(exclude_none=True, exclude={"function": {"strict"}})


Mode = Literal["auto", "none", "required"]


@dataclass(frozen=True)
class ToolChoice:
    """Whether the model may, must or must not call a tool, and which one."""

    mode: Mode
    name: str = ""

    @classmethod
    def of(cls, stated: "ToolChoice | None", tools: Sequence[Any] | None) -> "ToolChoice":
        """Returns the stated choice; without one, the model may call tools if there are any."""
        return stated or cls("auto" if tools else "none")


def _tool_choice(value: Any) -> Any:
    match value:
        case None | ToolChoice():
            return value
        case "auto" | "none" | "required":
            return ToolChoice(value)
        case {"type": "function", "function": {"name": str(name)} as function} if (
            len(value) == 2 and len(function) == 1
        ):
            return ToolChoice("required", name)
    raise PydanticCustomError("choice", "it is auto, none, required or {name}",
                              {"name": '{"type": "function", "function": {"name": …}}'})  # fmt: skip


class NamedFunction(StrictBody):
    """The function that `tool_choice` requires."""

    name: str


class NamedTool(StrictBody):
    """The tool that the model must call."""

    type: Literal["function"]
    function: NamedFunction


Choice = Annotated[Any, BeforeValidator(_tool_choice, json_schema_input_type=Mode | NamedTool | None)]


class SchemaFormat(StrictBody):
    """A JSON schema by which the model must answer."""

    name: ToolName
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(StrictBody):
    """The form of an answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise PydanticCustomError("lacking", "it is missing", {"name": "json_schema"})
        return self


def check_tools(tools: Sequence[OfferedTool], choice: ToolChoice) -> None:
    """Rejects tools of the same name or with schemas beyond the limits, and a choice of an unknown tool.

    Raises:
        ApiError: 400, naming the location.
    """
    names = [tool.function.name for tool in tools]
    bounds = SchemaBounds()
    for index, tool in enumerate(tools):
        place = f"tools[{index}].function"
        if tool.function.name in names[:index]:
            raise _invalid(f"{place}.name", f"{tool.function.name!r} stands twice")
        if (parameters := tool.function.parameters) is not None:
            if parameters and parameters.get("type") != "object":
                raise _invalid(f"{place}.parameters.type", 'arguments are an object: write "type": "object"')
            _add(bounds, parameters, f"{place}.parameters")
    if choice.mode == "required" and not tools:
        raise _invalid("tool_choice", "there are no tools")
    if choice.name and choice.name not in names:
        raise _invalid("tool_choice", f"{choice.name!r} is not one of the tools")


def check_format(form: ResponseFormat) -> None:
    """Rejects a format of answers whose schema is beyond the limits.

    Raises:
        ApiError: 400, naming the location.
    """
    if form.json_schema:
        _add(SchemaBounds(), form.json_schema.schema_, FORMAT_SCHEMA)


def schemas_of(tools: Sequence[OfferedTool] | None, form: ResponseFormat | None) -> dict[str, Any]:
    """Returns the JSON schemas of a chat request by their location."""
    schemas: dict[str, Any] = {
        f"tools[{index}].function.parameters": tool.function.parameters
        for index, tool in enumerate(tools or ())
        if tool.function.parameters is not None
    }
    return schemas | ({FORMAT_SCHEMA: form.json_schema.schema_} if form and form.json_schema else {})


def _add(bounds: SchemaBounds, schema: Any, place: str) -> None:
    try:
        bounds.add(schema)
    except ValueError as e:
        raise _invalid(place, str(e)) from None


def _invalid(place: str, what: str) -> ApiError:
    return ApiError(400, f"{place}: {what}", code="invalid_value", param=place)
