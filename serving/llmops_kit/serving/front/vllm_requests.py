"""Requests to vLLM: checks their parameters, and fills in the version's defaults."""

import json
from typing import Any

from llmops_kit.core.documents.model import EmbeddingForm
from llmops_kit.core.documents.recipe import ServingDefaults
from llmops_kit.core.models.tool_call_stream import CallForm
from llmops_kit.serving.api.model_card import ModelCard
from llmops_kit.serving.errors import ApiError, wrong_dimensions
from llmops_kit.serving.front.vllm_tools import with_held_response_tools, with_held_tools

# OpenAI's parameters, and those of vLLM's own that may pass. The others could make vLLM read files, fetch addresses,
# render templates or unpickle tensors, or have no bounds.
PARAMETERS = {
    "add_generation_prompt", "audio", "continue_final_message", "dimensions", "echo", "encoding_format",
    "frequency_penalty", "function_call", "functions", "ignore_eos", "input", "instructions", "logit_bias", "logprobs",
    "max_completion_tokens", "max_output_tokens", "max_tokens", "messages", "metadata", "min_p", "min_tokens",
    "modalities", "model", "n", "parallel_tool_calls", "presence_penalty", "prompt", "prompt_cache_key", "reasoning",
    "reasoning_effort", "repetition_penalty", "response_format", "safety_identifier", "seed", "service_tier", "stop",
    "store", "stream", "stream_options", "suffix", "temperature", "text", "tool_choice", "tools", "top_k",
    "top_logprobs", "top_p", "truncation", "user", "verbosity",
}  # fmt: skip
BOUNDS = {"n": 16, "logprobs": 20, "top_logprobs": 20}
_MOST_STOPS, _LONGEST_STOP = 4, 256
_LONGEST_SCHEMA = 1 << 16


def with_served_name(request: dict[str, Any], card: ModelCard) -> dict[str, Any]:
    """Returns a checked request with the model's name in vLLM, which the answers have too.

    Raises:
        ApiError: 400, the name is not text; 404, it is another model's.
    """
    asked = request.get("model")
    if not isinstance(asked, str | None):
        raise ApiError(400, "model: it is not text", code="invalid_value", param="model")
    if asked:  # as for the other engines: OpenAI's clients send "" if the address names the endpoint
        card.check_name(asked)
    return request | {"model": card.name}


def filled(request: dict[str, Any], defaults: ServingDefaults, form: CallForm | None) -> bytes:
    """Returns a checked request's body with its tools in vLLM's form, and with the version's defaults for missing
    fields, except the temperature, which is an option of vLLM's server.

    Args:
        request: checked; it is changed.
        defaults: the version's.
        form: format in which the model writes tool calls; None: one that vLLM does not parse.

    Raises:
        ApiError: 400, the tools are not supported.
    """
    if request.get("max_tokens") is None and request.get("max_completion_tokens") is None:
        request["max_completion_tokens"] = defaults.max_tokens
    messages = request.get("messages")
    if defaults.system_prompt and isinstance(messages, list) and not _begins_with_system(messages):
        request["messages"] = [{"role": "system", "content": defaults.system_prompt}, *messages]
    return json.dumps(with_held_tools(request, form)).encode()


def filled_response(request: dict[str, Any], defaults: ServingDefaults, form: CallForm | None) -> bytes:
    """Returns a checked request of the responses API with tools and the version's defaults, as `filled` does a chat.

    Raises:
        ApiError: 400, the tools are not supported, or the answer should be stored, which vLLM would silently ignore.
    """
    if request.get("store"):
        raise ApiError(400, "store: answers are not stored", code="unsupported_parameter", param="store")
    if request.get("max_output_tokens") is None:
        request["max_output_tokens"] = defaults.max_tokens
    begins = request.get("input")
    if defaults.system_prompt and request.get("instructions") is None and not _begins_with_system(begins):
        request["instructions"] = defaults.system_prompt
    return json.dumps(with_held_response_tools(request, form) | {"store": False}).encode()


def embedded(request: dict[str, Any], form: EmbeddingForm) -> bytes:
    """Returns a checked request for embeddings without `dimensions`, which vLLM rejects even if the number is the
    model's.

    Raises:
        ApiError: 400, the number is not the model's.
    """
    if request.pop("dimensions", None) not in (None, form.dimensions):
        raise wrong_dimensions(form.dimensions)
    return json.dumps(request).encode()


def answers_of(request: dict[str, Any]) -> tuple[int, str]:
    """Returns the number of answers that a checked request asks for, `n` for each prompt of a list, and the parameter
    that asks for them.
    """
    prompt, asked = request.get("prompt"), request.get("n")
    answers = int(asked) if isinstance(asked, (int, float)) and asked > 1 else 1
    if isinstance(prompt, list) and any(not isinstance(part, int) for part in prompt):  # otherwise tokens of one prompt
        return answers * len(prompt), "prompt" if len(prompt) > 1 else "n"
    return answers, "n"


def _begins_with_system(messages: Any) -> bool:
    first = messages[0] if isinstance(messages, list) and messages else None
    return isinstance(first, dict) and first.get("role") in ("system", "developer")


def check(body: bytes) -> dict[str, Any]:
    """Returns the request of a body that may reach vLLM.

    Raises:
        ApiError: 400, naming the parameter.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise ApiError(400, f"the body is not JSON: {e}"[:300], code="invalid_json") from None
    if not isinstance(request, dict):
        raise ApiError(400, "the body: it is not an object", code="invalid_value")
    for name in request:
        if name not in PARAMETERS:
            shown = name[:64]
            raise ApiError(400, f"{shown} is not supported by this server", code="unknown_parameter", param=shown)
    for name, most in BOUNDS.items():
        value = request.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > most:
            raise ApiError(400, f"{name}: at most {most}", code="invalid_value", param=name)
    stops = request.get("stop")
    stops = stops if isinstance(stops, list) else [stops] if isinstance(stops, str) else []
    if len(stops) > _MOST_STOPS or any(isinstance(s, str) and len(s) > _LONGEST_STOP for s in stops):
        what = f"stop: at most {_MOST_STOPS} of {_LONGEST_STOP} characters"
        raise ApiError(400, what, code="invalid_value", param="stop")
    for name in ("response_format", "tools", "text"):
        if name in request and len(json.dumps(request[name])) > _LONGEST_SCHEMA:
            raise ApiError(400, f"{name}: at most {_LONGEST_SCHEMA} bytes", code="invalid_value", param=name)
    _check_parts(request.get("messages"), "messages")
    _check_parts(request.get("input"), "input")
    return request


def _check_parts(messages: Any, name: str) -> None:
    """Rejects every part of a message that is not text, so that nothing is ever fetched."""
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        contents = ((field, message.get(field)) for field in ("content", "output") if isinstance(message, dict))
        for field, part in ((f, part) for f, content in contents if isinstance(content, list) for part in content):
            kind = part.get("type") if isinstance(part, dict) else None
            if kind not in ("text", "input_text", "output_text", "refusal"):
                param = f"{name}[{index}].{field}"
                raise ApiError(400, f"{param}: only text parts are supported", code="invalid_value", param=param)
