"""Errors that a caller sees, in OpenAI's form."""

import json
from typing import Any

from aiohttp import web

from contract.http_guard import error_body, refusal


class ApiError(Exception):
    """A request that is not answered. Never carries a prompt or a key."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "",
        param: str = "",
        kind: str = "invalid_request_error",
        retry_after: int = 0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.body: dict[str, Any] = error_body(message, kind, code, param)

    def response(self) -> web.Response:
        return refusal(self.status, self.body, retry=self.retry_after)

    def frame(self) -> bytes:
        """The last frame of a stream that this error cut."""
        return b"data: " + json.dumps(self.body).encode() + b"\n\n"


def overloaded() -> ApiError:
    """The queue is full."""
    return ApiError(
        429, "too many requests are waiting; try again", code="overloaded", kind="rate_limit_error", retry_after=1
    )


def unavailable(phase: str) -> ApiError:
    """The server starts or stops."""
    return ApiError(503, f"the server is {phase}; try again", code="unavailable", kind="server_error", retry_after=1)
