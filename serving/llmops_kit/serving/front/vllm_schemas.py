"""Checks the JSON schemas of requests to vLLM like those of the kit's other engines, before vLLM gets them.

vLLM reads a request's schema on its event loop, and compiles it on threads of its engine, which can't be ended; if its
first compiler rejects one, it tries others.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from llmops_kit.core.models.tool_call_stream import CallForm
from llmops_kit.serving.api.openai import parse_body
from llmops_kit.serving.api.request_bodies import StrictBody
from llmops_kit.serving.api.responses import TextFormat, chat_format, renamed
from llmops_kit.serving.api.tools import ResponseFormat, check_format, check_tools, schemas_of
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.front.routes import RESPONSES
from llmops_kit.serving.front.schema_checks import SchemaChecks, Vocabulary
from llmops_kit.serving.front.vllm_tools import ToolFields, tools_of
from llmops_kit.serving.grammars import schema_grammar


class _ChatFormat(StrictBody):
    """The format of a chat's or a completion's answer."""

    response_format: ResponseFormat | None = None


class _Text(StrictBody):
    """`text` of a response, with only its format."""

    format: TextFormat | None = None


class _ResponseFormat(StrictBody):
    """The format of a response's text."""

    text: _Text | None = None


class AskedSchemas(NamedTuple):
    """Tools and format that a request sets for its answer."""

    path: str
    tools: ToolFields | None
    format: ResponseFormat | None

    @classmethod
    def of(cls, request: Mapping[str, Any], path: str) -> Self | None:
        """Returns the tools and the format of the answer of a checked request; None: it has neither.

        Args:
            path: the route in vLLM's app.

        Raises:
            ApiError: 400, they are not in OpenAI's form, or have schemas beyond the limits.
        """
        asked = cls(path, tools_of(request, responses=path == RESPONSES), _format(request, path))
        try:
            if asked.tools:
                check_tools(asked.tools.tools or [], asked.tools.choice)
            if asked.format:
                check_format(asked.format)
        except ApiError as e:
            raise asked.told(e) from None
        return asked if asked.tools or asked.format else None

    async def check(self, checks: SchemaChecks, form: CallForm | None, vocabulary: Vocabulary, caller: str) -> None:
        """Checks the schemas, and that the grammar for the answer compiles, if there is one.

        Args:
            form: format in which the model writes calls; None: one that vLLM does not parse.
            caller: the name of the caller's key.

        Raises:
            ApiError: like `SchemaChecks`.
        """
        tools = self.tools.tools if self.tools else None
        try:
            await checks.check_schemas(schemas_of(tools, self.format), caller)
            grammar, place = None, "tools"
            if self.tools and tools and form and self.tools.choice.mode != "none":
                grammar = self.tools.grammar(form)
            if not grammar and self.format and self.format.json_schema:
                place = "response_format"
                grammar = schema_grammar(self.format.json_schema.schema_, place)
            if grammar:
                await checks.check_grammar(grammar, vocabulary, place, caller)
        except ApiError as e:
            raise self.told(e) from None

    def told(self, error: ApiError) -> ApiError:
        """Returns an error about a chat request with the parameters of this request's route."""
        return renamed(error) if self.path == RESPONSES else error


def _format(request: Mapping[str, Any], path: str) -> ResponseFormat | None:
    if path != RESPONSES:
        asked = request.get("response_format")
        return (
            parse_body(json.dumps({"response_format": asked}).encode(), _ChatFormat).response_format
            if asked is not None
            else None
        )
    text = request.get("text")
    form = text.get("format") if isinstance(text, dict) else text
    if form is None:
        return None
    text = parse_body(json.dumps({"text": {"format": form}}).encode(), _ResponseFormat).text
    return chat_format(text.format) if text else None
