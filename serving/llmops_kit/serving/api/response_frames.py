"""Answers in the form of OpenAI's responses API: one object, or server-sent events that build it up.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

import itertools
import json
import time
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from llmops_kit.core.models.tool_call_stream import CallDelta
from llmops_kit.serving.api.frames import Delta
from llmops_kit.serving.api.responses import ResponsesRequest
from llmops_kit.serving.api.tools import ToolChoice
from llmops_kit.serving.engines.engine import GenerationRequest


class ResponseFrames:
    """Builds the response to one request."""

    def __init__(self, request: ResponsesRequest, model: str, generation: GenerationRequest) -> None:
        """Begins a response; `generation` has the defaults for fields that the request left out."""
        self._numbers = itertools.count()
        self._items: list[dict[str, Any]] = []
        self._finish = ""
        self._response: dict[str, Any] = {
            "id": f"resp_{uuid4().hex}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "metadata": request.metadata or {},
            "model": model,
            "output": [],
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "previous_response_id": None,
            "temperature": generation.temperature,
            "text": {"format": _format(request)},
            "tool_choice": _choice(request),
            "tools": [tool.model_dump() | {"strict": bool(tool.strict)} for tool in request.tools or ()],
            "top_p": generation.top_p,
            "truncation": "disabled",
            "usage": None,
        }

    def role(self) -> bytes:
        """Returns the events that open a response."""
        kinds = ("response.created", "response.in_progress")
        return b"".join(self._event(kind, response=self._response) for kind in kinds)

    def delta(self, delta: Delta) -> bytes:
        """Returns the events of one delta."""
        self._finish = delta.finish or self._finish
        frames = self._text(delta.text) if delta.text else b""
        return frames + b"".join(map(self._call, delta.calls))

    def end(self, usage: dict[str, int]) -> bytes:
        """Returns the events that close a response."""
        frames = b"" if self._items else self._open_message()
        status = "incomplete" if self._finish == "length" else "completed"
        frames += self._close(status)
        if status == "incomplete":
            self._response["incomplete_details"] = {"reason": "max_output_tokens"}
        self._response |= {"status": status, "output": self._items, "usage": _usage(usage)}
        return frames + self._event(f"response.{status}", response=self._response)

    def whole(self, deltas: Iterable[Delta], usage: dict[str, int]) -> dict[str, Any]:
        """Returns the finished response, for a request that does not stream."""
        for delta in deltas:
            self.delta(delta)
        self.end(usage)
        return self._response

    def _text(self, text: str) -> bytes:
        frames = b""
        if not self._items or self._items[-1]["type"] != "message":
            frames = self._close("completed") + self._open_message()
        item = self._items[-1]
        item["content"][0]["text"] += text
        return frames + self._event("response.output_text.delta", **self._part(), delta=text, logprobs=[])

    def _call(self, call: CallDelta) -> bytes:
        frames = b""
        if call.name:
            frames = self._close("completed") + self._add(
                {"id": f"fc_{uuid4().hex}", "type": "function_call", "status": "in_progress",
                 "call_id": f"call_{uuid4().hex[:24]}", "name": call.name, "arguments": ""}
            )  # fmt: skip
        if call.arguments:
            self._items[-1]["arguments"] += call.arguments
            frames += self._event("response.function_call_arguments.delta", **self._place(), delta=call.arguments)
        return frames

    def _open_message(self) -> bytes:
        item = {"id": f"msg_{uuid4().hex}", "type": "message", "status": "in_progress", "role": "assistant",
                "content": []}  # fmt: skip
        frames = self._add(item)
        item["content"] = [{"type": "output_text", "text": "", "annotations": [], "logprobs": []}]
        return frames + self._event("response.content_part.added", **self._part(), part=item["content"][0])

    def _add(self, item: dict[str, Any]) -> bytes:
        self._items.append(item)
        return self._event("response.output_item.added", output_index=len(self._items) - 1, item=item)

    def _close(self, status: str) -> bytes:
        """Ends the last item, if there is one."""
        if not self._items:
            return b""
        item, frames = self._items[-1], b""
        if item["type"] == "message":
            part = item["content"][0]
            frames += self._event("response.output_text.done", **self._part(), text=part["text"], logprobs=[])
            frames += self._event("response.content_part.done", **self._part(), part=part)
        else:
            said = {"name": item["name"], "arguments": item["arguments"]}
            frames += self._event("response.function_call_arguments.done", **self._place(), **said)
        item["status"] = status
        return frames + self._event("response.output_item.done", output_index=len(self._items) - 1, item=item)

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._items[-1]["id"], "output_index": len(self._items) - 1}

    def _part(self) -> dict[str, Any]:
        return {**self._place(), "content_index": 0}

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": next(self._numbers), **fields}
        return f"event: {kind}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n".encode()


def _format(request: ResponsesRequest) -> dict[str, Any]:
    form = request.text.format if request.text else None
    return form.model_dump(exclude_none=True, by_alias=True) if form else {"type": "text"}


def _choice(request: ResponsesRequest) -> str | dict[str, str]:
    choice = request.tool_choice or ToolChoice("auto")
    return {"type": "function", "name": choice.name} if choice.name else choice.mode


def _usage(usage: dict[str, int]) -> dict[str, Any]:
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }
