"""The engine's process: one thread that takes requests between steps and sends each step's tokens in one message.

A process of its own because `step` holds Python's interpreter lock for 20 to 200 ms: no HTTP server could answer.
"""

import gc
import os
import signal
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any, Protocol, cast

from serving.engines.base import GenerationRequest, LoadOrder
from serving.engines.wire import Channel

_BACKENDS = {"openvino": "serving.engines.openvino_backend", "transformers": "serving.engines.transformers_backend"}

Step = tuple[int, list[int], str | None]
"""A request's number, its new tokens, and how it ended: stop, length, lost; None while it runs."""


class Backend(Protocol):
    """A library that generates for a batch that requests join and leave between steps."""

    def load(self, order: LoadOrder) -> dict[str, Any]:
        """Load the model; fields of EngineInfo. Called again, it starts from nothing."""
        ...

    def add(self, number: int, request: GenerationRequest) -> None:
        """Put a request into the batch. Raises what the library raises when it refuses the request."""
        ...

    def cancel(self, number: int) -> None:
        """Take a request out; numbers that are not there are ignored."""
        ...

    def step(self) -> list[Step]:
        """Compute the next token of every request."""
        ...

    def numbers(self) -> list[int]:
        """The requests in the batch."""
        ...


def main(fd: int, likely: str) -> None:
    """Serve one server over the socket `fd` until it closes."""
    # Ctrl-C and a container's SIGTERM reach the whole group; the server decides when the engine ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.disable()  # a start makes no garbage
    channel = Channel(socket.socket(fileno=fd))
    with suppress(ImportError):  # said when it is asked for
        import_module(_BACKENDS[likely]).warm()
    with suppress(EOFError, ConnectionError):
        _run(channel)
    os._exit(0)  # not a moment for destructors: the server is gone, and nothing is left to save


def _run(channel: Channel) -> None:
    first, *early = channel.receive(wait=True)
    order = LoadOrder(**first["load"])
    try:
        backend = cast(Backend, import_module(_BACKENDS[order.engine]).Backend())
        channel.send({"loaded": backend.load(order)})
        gc.freeze()  # a collection would look at all of the libraries, and stop every stream
        gc.enable()
    except Exception as e:  # whatever a library raises at what it can't load is the reason to tell
        channel.send({"failed": f"{type(e).__name__}: {_line(e)}"})
        return
    _take(channel, backend, early)
    while True:
        _take(channel, backend, channel.receive(wait=not backend.numbers()))
        if backend.numbers():
            _step(channel, backend, order)


def _take(channel: Channel, backend: Backend, messages: Iterable[Any]) -> None:
    for message in messages:
        if "cancel" in message:
            backend.cancel(message["cancel"])
            continue
        number, fields = message["add"]
        try:
            backend.add(number, GenerationRequest(**fields))
        except Exception as e:  # a request that the library refuses must not end the others
            channel.send({"lost": [number], "reason": f"the engine refused the request: {_line(e)}"})


def _step(channel: Channel, backend: Backend, order: LoadOrder) -> None:
    numbers = backend.numbers()
    try:
        steps = backend.step()
    except Exception as e:  # after an exception every later step would raise too: start from nothing
        channel.send({"lost": numbers, "reason": f"the engine failed: {_line(e)}"})
        backend.load(order)
        return
    channel.send({"step": steps, "running": len(backend.numbers())})


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
