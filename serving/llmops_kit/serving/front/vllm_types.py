"""Checks the types of a request to vLLM by the models that check those of the kit's other engines.

vLLM's own models convert: to them "0.5" is a temperature, and "true" a stream.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import create_model

from llmops_kit.serving.api.openai import ChatRequest, CompletionRequest, parse_body
from llmops_kit.serving.api.request_bodies import StrictBody
from llmops_kit.serving.api.responses import ResponsesRequest
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.front.routes import CHAT, COMPLETIONS, RESPONSES


def check_types(request: Mapping[str, Any], path: str) -> None:
    """Refuses parameters of other types than the kit's other engines take.

    Args:
        request: checked.
        path: the route in vLLM's app.

    Raises:
        ApiError: 400, naming the parameter.
    """
    kind = _KINDS.get(path)
    if kind is None:
        return
    given = {name: request[name] for name in kind.model_fields if name in request}
    parse_body(json.dumps(given).encode(), kind)
    if request.get("stream_options") is not None and not request.get("stream"):
        raise ApiError(400, "stream_options needs stream", code="invalid_value", param="stream_options")


def _types(kind: type[StrictBody]) -> type[StrictBody]:
    """Returns a model of the fields of another that vLLM takes in the same form."""
    fields: dict[str, Any] = {
        name: (field.annotation, field) for name, field in kind.model_fields.items() if name in _NAMES
    }
    return create_model(kind.__name__, __base__=StrictBody, **fields)


_NAMES = ("stream", "stream_options")
_KINDS = {CHAT: _types(ChatRequest), COMPLETIONS: _types(CompletionRequest), RESPONSES: _types(ResponsesRequest)}
