"""Checks the types of a request to vLLM by the models that check those of the kit's other engines.

vLLM's own models convert: to them "0.5" is a temperature, and "true" a stream.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import create_model

from llmops_kit.serving.api.openai import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    check_stream_options,
    parse_body,
)
from llmops_kit.serving.api.request_bodies import Only, StrictBody
from llmops_kit.serving.api.responses import ResponsesRequest
from llmops_kit.serving.front.routes import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES


def check_types(request: Mapping[str, Any], path: str) -> None:
    """Refuses parameters of other types than the kit's other engines take.

    Args:
        request: checked.
        path: the route in vLLM's app.

    Raises:
        ApiError: 400, naming the parameter.
    """
    kind = _KINDS[path]
    given = {name: request[name] for name in kind.model_fields if request.get(name) is not None}
    parse_body(json.dumps(given).encode(), kind)
    check_stream_options(request.get("stream_options"), request.get("stream"))


def _types(kind: type[StrictBody]) -> type[StrictBody]:
    """Returns a model of the fields of another that vLLM takes in the same form, and of vLLM's own."""
    fields: dict[str, Any] = {
        name: (field.annotation, field)
        for name, field in kind.model_fields.items()
        if name not in _OTHERWISE and not any(isinstance(each, Only) for each in field.metadata)
    }
    fields |= {name: (type_ | None, None) for name, type_ in _OWN.items()}
    return create_model(kind.__name__, __base__=StrictBody, **fields)


_OTHERWISE = {
    "input", "messages", "model", "n", "prompt", "response_format", "text", "tool_choice", "tools",
}  # fmt: skip
"""Fields that vLLM takes in more forms, or that are checked elsewhere."""
_OWN: dict[str, Any] = {
    "add_generation_prompt": bool, "continue_final_message": bool, "echo": bool, "min_p": float, "n": int,
    "repetition_penalty": float, "top_k": int,
}  # fmt: skip
"""Fields that only vLLM takes, or with another bound, and their types."""
_KINDS = {
    path: _types(kind)
    for path, kind in (
        (CHAT, ChatRequest), (COMPLETIONS, CompletionRequest), (RESPONSES, ResponsesRequest),
        (EMBEDDINGS, EmbeddingRequest),
    )
}  # fmt: skip
