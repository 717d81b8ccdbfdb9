"""Converts vLLM's errors to the common form."""

import json

from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.front.exchange import Message, Send

_CODES = {400: "invalid_request", 404: "not_found", 413: "body_too_large", 422: "invalid_value", 503: "unavailable"}


class VllmAnswer:
    """Forwards an answer of vLLM, but keeps an error until vLLM's app has ended."""

    def __init__(self, send: Send) -> None:
        self.error: ApiError | None = None
        """Error to raise once the app has ended: inside of it, the app's own handlers would catch it."""
        self._send = send
        self._status = 0
        self._held = bytearray()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if self._status >= 400:
                return
            await self._send(message)
            return
        if self._status >= 400:
            self._held += message.get("body", b"")
            if not message.get("more_body"):
                self.error = _error(self._status, bytes(self._held))
            return
        await self._send(message)


def _error(status: int, body: bytes) -> ApiError:
    """Returns an error of vLLM, whose code is a number, or of FastAPI, which has another form, in the common form."""
    try:
        answer = json.loads(body)
        error = answer.get("error") or answer
        message, param = error.get("message") or error.get("detail") or "", error.get("param") or ""
    except (ValueError, AttributeError):
        message, param = "", ""
    message = message if isinstance(message, str) and message else "the engine refused the request"
    code = _CODES.get(status, "engine_error")
    if "context length" in message or "max_model_len" in message:
        code = "context_length_exceeded"
    elif status == 404 and "model" in message:
        code, param = "model_not_found", "model"
    elif param == "structured_outputs":  # only the front sets it, to constrain tool calls
        code, param, message = "invalid_value", "tools", "tools: no answer could be held to their schemas"
    retry = 1 if status in (429, 503) else 0
    return ApiError(status, message, code=code, param=param if isinstance(param, str) else "", retry_after=retry)
