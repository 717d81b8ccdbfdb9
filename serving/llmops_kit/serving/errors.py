"""Errors shown to callers, in OpenAI's form."""

import json
from typing import Any

from llmops_kit.core.network.http_guard import error_body


class ApiError(Exception):
    """Error for a request that can't be answered. Never contains a prompt or a key."""

    def __init__(
        self, status: int, message: str, *, code: str = "", param: str = "", retry_after: int = 0, allow: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.allow = allow
        """The methods that a route supports, for status 405."""
        self.body: dict[str, Any] = error_body(status, message, code, param)

    def frame(self) -> bytes:
        """Returns the last frame of a stream that this error cuts off."""
        return b"data: " + json.dumps(self.body).encode() + b"\n\n"


def unavailable(phase: str) -> ApiError:
    """Returns the error for a server that is starting or stopping."""
    return ApiError(503, f"the server is {phase}; try again", code="unavailable", retry_after=1)


def wrong_kind(name: str, *, embeds: bool) -> ApiError:
    """Returns the error for a request for text from an embedding model, or for vectors from one that generates text."""
    does = "it gives embeddings, and generates no text" if embeds else "it generates text, and gives no embeddings"
    return ApiError(400, f"{name}: {does}", code="unsupported_model", param="model")


def wrong_dimensions(dimensions: int) -> ApiError:
    """Returns the error for a request for vectors with more or fewer dimensions than the model's."""
    what = f"dimensions: this model's vectors have {dimensions}, and are not shortened"
    return ApiError(400, what, code="unsupported_parameter", param="dimensions")
