"""A chat request's tools as vLLM must get them, so that prompt and calls equal those of the kit's other engines."""

import json
from typing import Any

from contract.models.tool_call_stream import HERMES, LLAMA, CallForm
from serving.api.bodies import StrictBody
from serving.api.openai import parse_body
from serving.engines.engine import Grammar
from serving.engines.transformers_grammars import structural_tag
from serving.errors import ApiError
from serving.grammars import calls_grammar, strict_grammar
from serving.tools import Choice, OfferedTool, ToolChoice, check_tools

CALL_FORMS: dict[str, CallForm] = {"hermes": HERMES, "llama3_json": LLAMA}
"""vLLM's name of a parser of tool calls -> their form."""


class _ToolFields(StrictBody):
    """The fields of a chat request that concern tools."""

    tools: list[OfferedTool] | None = None
    tool_choice: Choice = None
    parallel_tool_calls: bool | None = None

    @property
    def choice(self) -> ToolChoice:
        return ToolChoice.of(self.tool_choice, self.tools)

    def grammar(self, form: CallForm) -> Grammar | None:
        """Returns what the answer is held to: calls that must be made, or those of a strict tool; None: nothing."""
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


def with_held_tools(request: dict[str, Any], form: CallForm | None) -> dict[str, Any]:
    """Returns a chat request whose tools vLLM shows and enforces as the other engines do.

    vLLM alone would show the template a null for each field that a tool lacks, and its own `strict`, and would hold
    calls that must be made to a schema only if the tool is strict. So the template gets its own list, and the grammar
    is the kit's, beside `tool_choice: auto`, with which vLLM 0.32 keeps a given grammar
    (vllm/parser/abstract_parser.py, `_apply_structural_tag`).

    Args:
        request: checked: it has neither `chat_template_kwargs` nor `structured_outputs` of the client's.
        form: in which the model writes calls; None: vLLM reads none, and refuses tools that may be called.

    Raises:
        ApiError: 400, naming the location.
    """
    given = {name: request[name] for name in _ToolFields.model_fields if request.get(name) is not None}
    if not given.keys() & {"tools", "tool_choice"}:
        return request
    fields = parse_body(json.dumps(given).encode(), _ToolFields)
    check_tools(fields.tools or [], fields.choice)
    if fields.choice.mode == "none" or not fields.tools:
        return {name: value for name, value in request.items() if name not in ("tools", "tool_choice")}
    shown = [tool.for_template() for tool in fields.tools]
    held = request | {"tools": shown, "chat_template_kwargs": {"tools": shown}}
    if form is None or not (grammar := fields.grammar(form)):
        return held
    if (request.get("response_format") or {"type": "text"}) != {"type": "text"}:
        what = "response_format: it is not supported together with tools that the answer is held to"
        raise ApiError(400, what, code="unsupported_parameter", param="response_format")
    tag = json.dumps(structural_tag(grammar))
    return held | {"tool_choice": "auto", "response_format": None, "structured_outputs": {"structural_tag": tag}}
