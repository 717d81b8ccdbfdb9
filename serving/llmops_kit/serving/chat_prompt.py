"""Converts a request's messages to the form that chat templates take."""

from collections.abc import Sequence
from typing import Any

from llmops_kit.core.json_values import read_json
from llmops_kit.serving.api.openai import ChatMessage, ChatRequest
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.prompts import Prompts


def messages_of(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Returns messages in the form that templates take: content is always text, and calls' arguments are objects.

    Raises:
        ApiError: 400, a call's arguments are not an object.
    """
    found: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        role = "system" if message.role == "developer" else message.role
        shown: dict[str, Any] = {"role": role, "content": message.content or ""}
        shown |= {key: value for key in ("name", "tool_call_id") if (value := getattr(message, key)) is not None}
        if message.tool_calls:
            shown["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {
                        "name": call.function.name,
                        "arguments": _arguments(
                            call.function.arguments, f"messages[{index}].tool_calls[{number}].function.arguments"
                        ),
                    },
                }
                for number, call in enumerate(message.tool_calls)
            ]
        found.append(shown)
    return found


def require_tools(request: ChatRequest, prompts: Prompts) -> None:
    """Rejects tools if the model's chat template does not show them, or makes the model call them in an unknown format.

    Raises:
        ApiError: 400, naming the parameter.
    """
    used = next((i for i, m in enumerate(request.messages) if m.tool_calls or m.role == "tool"), None)
    if not request.offered and used is None:
        return
    place = "tools" if request.offered else f"messages[{used}]"
    if not prompts.takes_tools:
        raise _unsupported(place, "the model's chat template takes no tools")
    if request.offered and prompts.call_form is None:
        raise unread_calls('those of Hermes and Qwen, of Llama 3, and {"tool_calls": […]}')


def unread_calls(known: str) -> ApiError:
    """Returns the error for tools of a model that calls them in an unknown format.

    Args:
        known: the formats that the server parses.
    """
    what = f"the model writes its calls in a form that this server does not read; it reads {known}"
    return _unsupported("tools", what)


def _arguments(text: str, place: str) -> dict[str, Any]:
    try:
        value = read_json(text or "{}")
    except ValueError as e:
        raise ApiError(400, f"{place}: {e}", code="invalid_value", param=place) from None
    if not isinstance(value, dict):
        raise ApiError(400, f"{place}: it is not an object", code="invalid_value", param=place)
    return value


def _unsupported(place: str, what: str) -> ApiError:
    return ApiError(400, f"{place}: {what}", code="unsupported_parameter", param=place)
