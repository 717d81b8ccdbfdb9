"""Reads a request's body as a whole, within its limits, before the engine's app sees the request."""

import asyncio

from llmops_kit.core.network.http_guard import MOST_HEAD_BYTES
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.front.exchange import CONNECTION, ClientGoneError, HttpExchange, Message, Receive


async def read_body(exchange: HttpExchange, receive: Receive, most: int, seconds: float) -> bytes:
    """Waits for a request's whole body and returns it.

    Args:
        exchange: the request.
        receive: ASGI's receive.
        most: maximum number of bytes.
        seconds: time limit.

    Raises:
        ApiError: 413, 415 or 408.
        ClientGoneError: the client disconnected.
    """
    if exchange.header(b"content-encoding") not in ("", "identity"):
        raise ApiError(415, "send the body without Content-Encoding", code="unsupported_encoding")
    if (length := exchange.header(b"content-length")).isdigit() and int(length) > most:
        raise _too_large()
    body = bytearray()
    connection = exchange.scope.get("extensions", {}).get(CONNECTION)
    try:
        async with asyncio.timeout(seconds):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                body += message.get("body", b"")
                more = message.get("more_body", False)
                # Frames of chunks count too: a million chunks of one byte would cost much work.
                if len(body) > most or (connection and connection.received > 2 * most + MOST_HEAD_BYTES):
                    raise _too_large()
    except TimeoutError:
        raise ApiError(408, "the body did not come in time", code="body_timeout") from None
    return bytes(body)


def replay(body: bytes, receive: Receive) -> Receive:
    """Returns an ASGI receive for the engine's app: the whole body in one message, then the messages of `receive`."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _too_large() -> ApiError:
    return ApiError(413, "the body is larger than this server takes", code="body_too_large")
