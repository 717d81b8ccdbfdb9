"""A container's answer as the event stream of InvokeEndpointWithResponseStream.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_ResponseStream.html
"""

import json
from typing import Any

from moto.core.eventstream import EventStreamEncoder

from llmops_twins.core.exchanges import ContainerError

_PART = {":event-type": "PayloadPart", ":content-type": "application/octet-stream", ":message-type": "event"}
_ENCODE = EventStreamEncoder().encode_message
_TEXTS = {
    "late": ("ModelInvocationTimeExceeded", "The model did not finish its response within the time that it has."),
    "lost": ("StreamBroken", "The connection to the model was reset or closed before the response was whole."),
}


def part(payload: bytes) -> bytes:
    """Returns a piece of the container's answer as an event."""
    return _ENCODE(_PART, payload)


def stream_error(error: ContainerError) -> bytes | None:
    """Returns the event that ends a stream after its container broke off; None if the client is gone."""
    if error.reason == "left":
        return None
    code, message = _TEXTS[error.reason]
    return failure("ModelStreamError", Message=message, ErrorCode=code)


def failure(kind: str, **members: Any) -> bytes:
    """Returns an exception as an event."""
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return _ENCODE(headers, json.dumps(members).encode())
