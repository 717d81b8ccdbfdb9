"""Turns of a conversation and the tools that it may call, in OpenAI's form: checked and normalised."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from llmops_kit.core.document import Part, parse_json
from llmops_kit.core.errors import DataError, DocumentError
from llmops_kit.core.json_values import check_json
from llmops_kit.core.validation import message_of

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufdd0-\ufdef\ufffd-\uffff]")
_ASCII_CONTROL = bytes(code for code in range(128) if _CONTROL.match(chr(code)))
_EMPTY: tuple[Any, ...] = (None, "", [], {})
_TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}
_NAMED_TYPES = {
    "dict": "object",
    "float": "number",
    "int": "integer",
    "str": "string",
    "list": "array",
    "bool": "boolean",
}
_SUBSCHEMAS = ("items", "additionalProperties", "not")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMA_MAPS = ("properties", "$defs", "definitions", "patternProperties")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


def _joined(content: Any) -> Any:
    if content is None:
        return ""
    if not isinstance(content, list):
        return content
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            shown = kind if isinstance(kind, str) else type(part).__name__
            raise PydanticCustomError("part", "part {index} is {shown!r}; only text parts are trained",
                                      {"index": index, "shown": shown[:40]})  # fmt: skip
    return "\n".join(part["text"] for part in content)


def _parsed(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        value = parse_json(arguments, "")
        check_json(value)
    except DocumentError as e:
        raise PydanticCustomError("arguments", "holds JSON that {what}", {"what": e.what}) from None
    except ValueError as e:
        raise PydanticCustomError("arguments", "is not JSON: {what}", {"what": str(e)}) from None
    return value


class CalledFunction(Part):
    """The function and arguments of a tool call."""

    name: Name
    arguments: Annotated[dict[str, Any], BeforeValidator(_parsed)] = Field(default_factory=dict)


class ToolCall(Part):
    """A call of a tool in an assistant's turn."""

    id: str = ""
    type: Literal["function"] = "function"
    function: CalledFunction

    def to_dict(self) -> dict[str, Any]:
        """Returns OpenAI's form, with arguments as an object."""
        return {**({"id": self.id} if self.id else {}), "type": self.type, "function": self.function.model_dump()}


class Turn(Part):
    """A message of a conversation."""

    role: Annotated[
        Literal["system", "user", "assistant", "tool"],
        BeforeValidator(lambda role: "system" if role == "developer" else role),
    ]
    content: Annotated[str, BeforeValidator(_joined)] = ""
    tool_calls: list[ToolCall] = Field(default_factory=list)
    tool_call_id: str = ""
    name: str = Field(default="", description="Of the called tool; ignored on other roles, as templates do.")

    @model_validator(mode="before")
    @classmethod
    def _without_empty_fields(cls, data: Any) -> Any:
        """Removes empty fields: logs contain `refusal: null`, `annotations: []` and the like."""
        return {k: v for k, v in data.items() if v not in _EMPTY} if isinstance(data, dict) else data

    def to_dict(self) -> dict[str, Any]:
        """Returns the form of chat templates: always with content, other fields only if they are set."""
        fields: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            fields["tool_calls"] = [call.to_dict() for call in self.tool_calls]
        return fields | {k: v for k in ("tool_call_id", "name") if (v := getattr(self, k))}


class ToolFunction(Part):
    """A function that the model may call."""

    name: Name
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict, description="JSON schema of an object.")
    strict: bool | None = None


class Tool(Part):
    """A tool that the model may call."""

    type: Literal["function"] = "function"
    function: ToolFunction

    def to_dict(self) -> dict[str, Any]:
        """Returns OpenAI's form, without empty fields."""
        function = {k: v for k, v in self.function.model_dump().items() if v not in _EMPTY}
        return {"type": self.type, "function": function}


_TURNS = TypeAdapter(list[Turn])
_TOOLS = TypeAdapter(list[Tool])


def read_turns(value: Any, where: str) -> list[Turn]:
    """Validates and normalises messages; merges consecutive ones of one role.

    Chat templates differ in whether they accept such messages; merged ones train on every model.

    Raises:
        DataError: naming the message and its field.
    """
    try:
        turns = _TURNS.validate_python(value)
    except ValidationError as e:
        _refuse_first(
            e, where, 'write messages as {"role": "user", "content": "…"}; roles are system, user, assistant, tool'
        )
    merged: list[Turn] = []
    for index, turn in enumerate(turns):
        turn = _normalised(turn, f"{where}.{index}")
        last = merged[-1] if merged else None
        if last and last.role == turn.role != "tool" and not last.tool_calls:
            content = "\n\n".join(filter(None, (last.content, turn.content)))
            merged[-1] = last.model_copy(update={"content": content, "tool_calls": turn.tool_calls})
        else:
            merged.append(turn)
    return merged


def read_conversation(turns: Sequence[Turn], where: str) -> list[Turn]:
    """Checks the order of turns, names tool results after their calls, and drops turns after the last answer.

    Raises:
        DataError: no answer to a user, a tool result without its call, or a call without a result.
    """
    checked: list[Turn] = []
    open_calls: list[ToolCall] = []
    for turn in turns:
        if turn.role == "tool":
            call = _call_of(turn, open_calls, where)
            open_calls.remove(call)
            turn = turn.model_copy(update={"name": call.function.name})
        elif open_calls:
            raise DataError(
                f"the tool call {open_calls[0].function.name!r} has no result",
                where=where,
                fix='answer each call with a message {"role": "tool", "tool_call_id": "…", "content": "…"}',
            )
        open_calls += turn.tool_calls
        checked.append(turn)
    while checked and checked[-1].role != "assistant":
        checked.pop()
    roles = [turn.role for turn in checked]
    if not any(is_answer(roles, index) for index in range(len(roles))):
        raise DataError(
            f"has no answer to a user; its roles are {', '.join(t.role for t in turns) or 'none'}",
            where=where,
            fix="add the assistant's answer after a user's message, or delete the row",
        )
    return checked


def is_answer(roles: Sequence[str], index: int) -> bool:
    """Returns whether a turn is the assistant's answer to a user or a tool; a greeting before them is not an answer."""
    return roles[index] == "assistant" and not {"user", "tool"}.isdisjoint(roles[:index])


def read_tools(value: Any, where: str) -> list[Tool]:
    """Validates tools and their parameters' schemas.

    Raises:
        DataError: naming the tool and its field.
    """
    try:
        tools = _TOOLS.validate_python(value if value is not None else [])
    except ValidationError as e:
        _refuse_first(e, where, 'write tools as {"type": "function", "function": {"name": "…", "parameters": {…}}}')
    for index, tool in enumerate(tools):
        place = f"{where}.{index}.function"
        for text in _strings(tool.to_dict()):
            refuse_control(text, place)
        parameters = tool.function.parameters
        if parameters and parameters.get("type") != "object":
            raise DataError(
                f"is a schema of type {parameters.get('type')!r:.60}",
                where=f"{place}.parameters.type",
                fix='arguments are an object: write "type": "object"',
            )
        _check_schema(parameters, f"{place}.parameters")
    return tools


def check_calls(turns: Sequence[Turn], tools: Sequence[Tool], where: str) -> None:
    """Refuses calls of tools that a row does not offer, if it offers any, and arguments for tools without a schema.

    Raises:
        DataError: naming the message and the tool.
    """
    names = {tool.function.name for tool in tools}
    without_schema = {tool.function.name for tool in tools if not tool.function.parameters}
    for index, turn in enumerate(turns):
        for call in turn.tool_calls:
            if call.function.name in without_schema and call.function.arguments:
                raise DataError(
                    f"calls {call.function.name!r} with arguments, but the tool has no schema of them",
                    where=f"{where}.{index}",
                    fix='add "parameters" to the tool: {"type": "object", "properties": {…}}',
                )
            if names and call.function.name not in names:
                raise DataError(
                    f"calls {call.function.name!r}, which is not among the row's tools",
                    where=f"{where}.{index}",
                    fix="add it to `tools`, or correct the name",
                )


def normal_text(text: str, where: str) -> str:
    r"""Returns a text in Unicode form NFC, with \n at line ends and no spaces around it.

    Raises:
        DataError: it contains a control character, which tokenizers don't know.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    text = text.replace("\r\n", "\n").strip()
    refuse_control(text, where)
    return text


def refuse_control(text: str, where: str) -> None:
    """Refuses control and replacement characters, and Unicode's noncharacters.

    Raises:
        DataError: naming the character.
    """
    # Both checks are several times as fast as the pattern; of its characters, only U+FFFD is printable.
    if text.isascii():
        clean = len(text.encode().translate(None, _ASCII_CONTROL)) == len(text)
    else:
        clean = text.isprintable() and "\ufffd" not in text
    if clean:
        return
    if match := _CONTROL.search(text):
        raise DataError(
            f"holds the control or replacement character U+{ord(match[0]):04X}",
            where=where,
            fix="take it out of the text",
        )


def _refuse_first(error: ValidationError, where: str, fix: str) -> NoReturn:
    first = error.errors()[0]
    place = ".".join([where, *(str(part) for part in first["loc"])])
    raise DataError(message_of(first), where=place, fix=fix) from None


def _normalised(turn: Turn, where: str) -> Turn:
    if turn.tool_calls and turn.role != "assistant":
        raise DataError(f"is a {turn.role} with tool calls", where=where, fix="only an assistant calls tools")
    for call in turn.tool_calls:
        for text in _strings(call.to_dict()):
            refuse_control(text, where)
    content = normal_text(turn.content, where)
    if not content and not turn.tool_calls and turn.role != "tool":
        raise DataError("has no content", where=where, fix="fill it in, or delete the row")
    of_tool = {} if turn.role == "tool" else {"tool_call_id": "", "name": ""}
    return turn.model_copy(update={"content": content, **of_tool})


def _call_of(turn: Turn, open_calls: Sequence[ToolCall], where: str) -> ToolCall:
    by_id = [call for call in open_calls if call.id and call.id == turn.tool_call_id]
    by_name = [call for call in open_calls if turn.name in ("", call.function.name)]
    nameable = not turn.tool_call_id or not any(call.id for call in open_calls)
    if fitting := by_id or (by_name if nameable else []):
        return fitting[0]
    raise DataError(
        f"a result of the tool {turn.tool_call_id or turn.name!r} belongs to no call before it",
        where=where,
        fix="put the assistant's message with `tool_calls` before it, and its id into `tool_call_id`",
    )


def _check_schema(schema: Any, where: str) -> None:
    """Refuses values that are clearly not a JSON schema; the depth of the row bounds the recursion."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise DataError("is not a JSON schema", where=where, fix='write an object such as {"type": "string"}')
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind not in _TYPES:
            meant = _NAMED_TYPES.get(kind, "one of " + ", ".join(sorted(_TYPES))) if isinstance(kind, str) else "text"
            raise DataError(f"{kind!r:.60} is no type of JSON schema", where=f"{where}.type", fix=f"write {meant}")
    for key in _SUBSCHEMAS:
        if key in schema:
            _check_schema(schema[key], f"{where}.{key}")
    for key in (*_SCHEMA_LISTS, *_SCHEMA_MAPS):
        inner = schema.get(key, [] if key in _SCHEMA_LISTS else {})
        if not isinstance(inner, list if key in _SCHEMA_LISTS else dict):
            raise DataError("is no part of a JSON schema", where=f"{where}.{key}", fix="write it as JSON schema does")
        for name, each in inner.items() if isinstance(inner, dict) else enumerate(inner):
            _check_schema(each, f"{where}.{key}.{name}")
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise DataError("is not a list of names", where=f"{where}.required", fix='write ["name", …]')


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (key, *_strings(item))
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
