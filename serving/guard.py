"""A time limit on a request's headers, which aiohttp lacks: a client that sends them byte by byte is cut."""

import asyncio
from collections.abc import Callable
from typing import Any, cast
from weakref import WeakKeyDictionary


class HeaderGuards:
    """Wraps the protocols of a server; the application tells it when a request's headers have come, and its end."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._guards: WeakKeyDictionary[asyncio.BaseTransport, _Guard] = WeakKeyDictionary()

    def factory(self, inner: Callable[[], asyncio.BaseProtocol]) -> Callable[[], asyncio.BaseProtocol]:
        """A protocol factory around another."""
        return lambda: _Guard(cast(asyncio.Protocol, inner()), self._seconds, self._guards)

    def begin(self, transport: asyncio.BaseTransport | None) -> None:
        """A request's headers are complete."""
        if transport and (guard := self._guards.get(transport)):
            guard.begin()

    def end(self, transport: asyncio.BaseTransport | None) -> None:
        """The request was answered; the next one's headers may come."""
        if transport and (guard := self._guards.get(transport)):
            guard.waiting = True


class _Guard(asyncio.Protocol):
    """Passes everything on to the inner protocol."""

    def __init__(
        self, inner: asyncio.Protocol, seconds: float, guards: "WeakKeyDictionary[asyncio.BaseTransport, _Guard]"
    ) -> None:
        self._inner = inner
        self._seconds = seconds
        self._guards = guards
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self.waiting = True
        """Whether the next bytes are headers."""

    def begin(self) -> None:
        self.waiting = False
        self._stop_timer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._guards[transport] = self
        self._start_timer()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.waiting and not self._timer:
            self._start_timer()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def _start_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._transport.abort)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
