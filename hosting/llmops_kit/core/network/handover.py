"""The hand-over of a client's connection from the router to a worker, over a unix socket that the worker serves.

The router connects for each request, and sends one message with the client's socket (SCM_RIGHTS, unix(7)): the request
as bytes, and headers for its answer. The worker sends {"status": n} before the answer's first byte, and at its end
{"kept": bool} with whatever the client has sent beyond the request; without that end, the answer was cut. The router
reads from the connection again after the end only: until then the worker alone reads from it and writes to it.

A message is the length of its head (4 bytes, big-endian), the head in JSON, and its content, as long as the head says.
"""

import json
import struct
from typing import Any

SOCKET_VARIABLE = "LLMOPS_HANDOVER_SOCKET"
"""Names the socket that a worker serves, in its own folder."""
MOST_REQUEST_BYTES = 1 << 20
"""Of a handed-over request's body: longer ones are relayed."""
_MOST_HEAD_BYTES = 1 << 16
_MOST_CONTENT_BYTES = MOST_REQUEST_BYTES + (1 << 16)
_LENGTH = struct.Struct("!I")


class HandoverError(ValueError):
    """Error for bytes that are not a message of the hand-over."""


def encode(head: dict[str, Any], content: bytes = b"") -> bytes:
    """Returns a message as bytes: a length, `head` as JSON, and the content, as `Messages` reads them."""
    text = json.dumps(head | {"content": len(content)}, separators=(",", ":")).encode()
    return _LENGTH.pack(len(text)) + text + content


class Messages:
    """Splits received bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[dict[str, Any], bytes]]:
        """Returns the messages that `data` completes, each as its head and its content.

        Raises:
            HandoverError: the bytes are not a message, or it is too long.
        """
        self._buffer += data
        complete: list[tuple[dict[str, Any], bytes]] = []
        while message := self._next():
            complete.append(message)
        return complete

    def _next(self) -> tuple[dict[str, Any], bytes] | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > _MOST_HEAD_BYTES:
            raise HandoverError(f"a head of {length} bytes")
        begin = _LENGTH.size + length
        if len(self._buffer) < begin:
            return None
        try:
            head = json.loads(self._buffer[_LENGTH.size : begin])
            size = head["content"]
        except (ValueError, TypeError, KeyError) as e:
            raise HandoverError(f"a head that is not a JSON object with `content`: {e}") from None
        if not isinstance(size, int) or not 0 <= size <= _MOST_CONTENT_BYTES:
            raise HandoverError(f"a content of {size} bytes")
        if len(self._buffer) < begin + size:
            return None
        content = bytes(self._buffer[begin : begin + size])
        del self._buffer[: begin + size]
        return head, content
