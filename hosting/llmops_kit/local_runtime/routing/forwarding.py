"""Shared by both ways of forwarding a request: the hand-over of its connection, and the relay."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict

from llmops_kit.core.network.handover import MOST_REQUEST_BYTES
from llmops_kit.local_runtime.routing.http_handler import refusal

VARIANT_HEADER = "X-Llmops-Variant"
UNCOUNTED_BYTES = 1 << 16
"""Of each body, which BodyMemory doesn't count."""
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)


class NotAnsweredError(Exception):
    """Error for a backend that sent no byte of an answer.

    `sent`: it may have seen the request. `down`: it refused the connection.
    """

    def __init__(self, reason: str, *, sent: bool, down: bool = False) -> None:
        super().__init__(reason)
        self.sent = sent
        self.down = down


class BodiesFullError(Exception):
    """Error for a body for which the router has no memory left."""


class BodyMemory:
    """Bytes of request bodies that the router holds at once, over all requests, for as long as they are forwarded.

    The first UNCOUNTED_BYTES of each body are free: connections bound their number, and short requests pass when others
    have filled the memory.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    @contextmanager
    def request(self) -> Iterator["HeldBody"]:
        """Counts one request's body until the end of the block."""
        body = HeldBody(self)
        try:
            yield body
        finally:
            self.held -= body.counted


class HeldBody:
    """The counted part of one request's body."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._free = UNCOUNTED_BYTES
        self.counted = 0

    def add(self, size: int) -> None:
        """Counts further bytes, before they are kept.

        Raises:
            BodiesFullError: the router would hold more than it may.
        """
        free = min(self._free, size)
        if self._memory.held + size - free > self._memory.most:
            raise BodiesFullError
        self._free -= free
        self._memory.held += size - free
        self.counted += size - free


class LongBody:
    """A body too long to keep: yields its beginning, then the rest as the client sends it. Can be sent once.

    `refusal` is the answer if the client is at fault.
    """

    def __init__(
        self, kept: bytes, rest: aiohttp.StreamReader, most: int, seconds: float, received: Callable[[], int]
    ) -> None:
        self._kept, self._rest, self._most, self._seconds, self._received = kept, rest, most, seconds, received
        self._left = most - len(kept)
        self.begun = False
        self.refusal: web.Response | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun = True
        yield self._kept
        while chunk := await self._next():
            self._left -= len(chunk)
            if self._left < 0 or self._received() > 2 * self._most:  # with its chunks' frames
                self.refusal = too_large(self._most)
                raise ValueError("too large")
            yield chunk

    async def _next(self) -> bytes:
        try:
            return await asyncio.wait_for(self._rest.readany(), self._seconds)
        except Exception:
            self.refusal = too_slow(self._seconds)
            raise


async def take_body(
    request: web.BaseRequest, most: int, seconds: float, received: Callable[[], int], held: HeldBody
) -> bytes | LongBody:
    """Returns a request's body; a body too long to keep is read only when it is forwarded.

    Args:
        request: a request whose headers were received.
        most: maximum bytes of a body.
        seconds: timeout for each part of a long body.
        received: returns the bytes of the request received so far, with the frames of chunks.
        held: counts what is kept.

    Raises:
        BodiesFullError: the router would hold too many bytes of bodies.
    """
    if not request.body_exists:
        return b""
    kept = bytearray()
    while len(kept) <= MOST_REQUEST_BYTES:
        chunk = await request.content.readany()
        if not chunk:
            return bytes(kept)
        held.add(len(chunk))
        kept += chunk
    return LongBody(bytes(kept), request.content, most, seconds, received)


def too_large(most: int) -> web.Response:
    """Returns the answer to a body that is too long."""
    return refusal(413, f"a body has at most {most} bytes", "body_too_large", close=True)


def bodies_full(most: int) -> web.Response:
    """Returns the answer to a body for which the router has no memory left."""
    what = f"the router holds {most} bytes of bodies, its limit, for requests that are not answered yet"
    return refusal(503, f"{what}; repeat the request", "router_full", retry=5, close=True)


def too_slow(seconds: float) -> web.Response:
    """Returns the answer to a body that arrives too slowly."""
    return refusal(408, f"the body did not come within {seconds:g} s", "body_timeout", close=True)


def not_forwarded(headers: Mapping[str, str]) -> frozenset[str]:
    """Returns the names, in lower case, of headers that concern only one connection, including those that `Connection`
    lists.
    """
    return _HOP_BY_HOP | {name.strip().lower() for name in headers.get(hdrs.CONNECTION, "").split(",")}


def end_to_end(headers: Mapping[str, str], leave_out: tuple[str, ...] = ()) -> CIMultiDict[str]:
    """Returns the headers that are forwarded."""
    dropped = not_forwarded(headers) | set(leave_out)
    return CIMultiDict((k, v) for k, v in headers.items() if k.lower() not in dropped)
