"""Converts a request's tools for vLLM, so that prompt and calls equal those of the kit's other engines."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from llmops_kit.core.models.tool_call_stream import HERMES, LLAMA, CallForm
from llmops_kit.serving.api.openai import parse_body
from llmops_kit.serving.api.request_bodies import StrictBody
from llmops_kit.serving.api.responses import FunctionTool, ResponseChoice, offered, renamed
from llmops_kit.serving.api.tools import Choice, OfferedTool, ToolChoice, check_tools
from llmops_kit.serving.chat_prompt import unread_calls
from llmops_kit.serving.engines.engine import Grammar
from llmops_kit.serving.engines.transformers_grammars import structural_tag
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.grammars import calls_grammar, strict_grammar

CALL_FORMS: dict[str, CallForm] = {"hermes": HERMES, "llama3_json": LLAMA}
"""vLLM's name of a parser of tool calls -> their format."""


_Fields = TypeVar("_Fields", bound=StrictBody)


class ToolFields(StrictBody):
    """The fields of a chat request that concern tools."""

    tools: list[OfferedTool] | None = None
    tool_choice: Choice = None
    parallel_tool_calls: bool | None = None

    @property
    def choice(self) -> ToolChoice:
        """Whether the model may call tools."""
        return ToolChoice.of(self.tool_choice, self.tools)

    def grammar(self, form: CallForm) -> Grammar | None:
        """Returns the grammar for the answer: of required calls, or of calls of strict tools; None: any answer."""
        tools, choice = self.tools or [], self.choice
        several = self.parallel_tool_calls is not False and not choice.name
        if choice.mode == "required":
            return calls_grammar(form, [t for t in tools if choice.name in ("", t.function.name)], several=several)
        if not any(tool.function.strict for tool in tools):
            return None
        if form is not HERMES:
            what = "tools: strict ones need tool_choice required with this model's form of calls"
            raise ApiError(400, what, code="unsupported_parameter", param="tools")
        return strict_grammar(tools, several=several)


class _ResponseToolFields(StrictBody):
    """The fields of a request of the responses API that concern tools."""

    tools: list[FunctionTool] | None = None
    tool_choice: ResponseChoice = None
    parallel_tool_calls: bool | None = None

    @property
    def chat(self) -> ToolFields:
        """The same fields of a chat request."""
        tools = [offered(tool) for tool in self.tools] if self.tools else None
        return ToolFields(tools=tools, tool_choice=self.tool_choice, parallel_tool_calls=self.parallel_tool_calls)


def with_held_tools(request: dict[str, Any], form: CallForm | None) -> dict[str, Any]:
    """Returns a chat request whose tools vLLM shows and enforces like the other engines.

    By itself vLLM would pass the template a null for each field that a tool lacks, and `strict`, and would apply a
    schema to required calls only if the tool is strict. So the template gets the kit's list, and the request the kit's
    grammar with `tool_choice: auto`, with which vLLM 0.32 keeps a given grammar (vllm/parser/abstract_parser.py,
    `_apply_structural_tag`).

    Args:
        request: checked: the client has set neither `chat_template_kwargs` nor `structured_outputs`.
        form: format in which the model writes calls; None: one that vLLM does not parse.

    Raises:
        ApiError: 400, naming the location.
    """
    fields = tools_of(request, responses=False)
    held = _held(request, fields, form) if fields else request
    if "structured_outputs" in held:
        _refuse_format(request.get("response_format"), "response_format")
        held["response_format"] = None
    return held


def with_held_response_tools(request: dict[str, Any], form: CallForm | None) -> dict[str, Any]:
    """Returns a request of the responses API whose tools vLLM shows and enforces like a chat request's.

    Args:
        request: checked.
        form: as in `with_held_tools`.

    Raises:
        ApiError: 400, naming the location.
    """
    fields = tools_of(request, responses=True)
    if not fields:
        return request
    try:
        held = _held(request, fields, form)
    except ApiError as e:
        raise renamed(e) from None
    if "tools" in held:
        held["tools"] = [{"type": "function", "strict": False, **tool["function"]} for tool in held["tools"]]
    if "structured_outputs" in held:
        text = request.get("text")
        _refuse_format(text.get("format") if isinstance(text, dict) else text, "text.format")
        held["text"] = None
    return held


def tools_of(request: Mapping[str, Any], *, responses: bool) -> ToolFields | None:
    """Returns the fields of a request that concern tools, as those of a chat request; None: it has none.

    Args:
        responses: whether the request is for the responses API.

    Raises:
        ApiError: 400, naming the location.
    """
    if not responses:
        return _given(request, ToolFields)
    fields = _given(request, _ResponseToolFields)
    return fields.chat if fields else None


def _given(request: Mapping[str, Any], kind: type[_Fields]) -> _Fields | None:
    """Returns a request's fields that concern tools; None: it has none.

    Raises:
        ApiError: 400, naming the location.
    """
    given = {name: request[name] for name in kind.model_fields if request.get(name) is not None}
    return parse_body(json.dumps(given).encode(), kind) if given.keys() & {"tools", "tool_choice"} else None


def _held(request: dict[str, Any], fields: ToolFields, form: CallForm | None) -> dict[str, Any]:
    """Returns a request with a chat request's tools, and with the grammar for the answer, if there is one.

    Raises:
        ApiError: 400, naming the location in a chat request.
    """
    check_tools(fields.tools or [], fields.choice)
    if fields.choice.mode == "none" or not fields.tools:
        return {name: value for name, value in request.items() if name not in ("tools", "tool_choice")}
    if form is None:
        raise unread_calls("those of Hermes and Qwen, and of Llama 3")
    shown = [tool.for_template() for tool in fields.tools]
    held = request | {"tools": shown, "chat_template_kwargs": {"tools": shown}}
    if not (grammar := fields.grammar(form)):
        return held
    tag = json.dumps(structural_tag(grammar))
    return held | {"tool_choice": "auto", "structured_outputs": {"structural_tag": tag}}


def _refuse_format(asked: Any, param: str) -> None:
    """Rejects a format of the text if a grammar constrains the calls.

    Raises:
        ApiError: 400.
    """
    if (asked or {"type": "text"}) != {"type": "text"}:
        what = f"{param}: it is not supported together with tools that the answer is held to"
        raise ApiError(400, what, code="unsupported_parameter", param=param)
