"""The engine's process: one thread that takes requests between steps, and sends the tokens of 20 ms in one message.

It is a separate process because `step` holds Python's interpreter lock for 20 to 200 ms, which would block any HTTP
server.
"""

import gc
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from llmops_kit.core.engines.records import ENGINES, EngineName
from llmops_kit.serving.engines.embedding import Embedder
from llmops_kit.serving.engines.engine import Chance, GenerationRequest, LoadOrder
from llmops_kit.serving.engines.wire import Channel

_ENGINES = "llmops_kit.serving.engines"

Step = tuple[int, list[int], str | None, list[Chance]]
"""A request's number, its new tokens, how it ended (stop, length, lost; None while it runs), and the tokens' log
probabilities if they were requested.
"""


_TOGETHER_SECONDS = 0.02
_FIRST_TOKEN_SECONDS = 0.0005
"""How long the engine waits after an answer's first token: the next step takes all processors, and the server needs one
to pass the token on.
"""


class EngineBackend(Protocol):
    """A library that generates for a batch; requests join and leave it between steps."""

    def load(self, order: LoadOrder, folder: Path) -> dict[str, Any]:
        """Loads the model from a folder with the order's files, which is removed afterwards; returns fields of
        EngineInfo.
        """
        ...

    def add(self, number: int, request: GenerationRequest) -> None:
        """Adds a request to the batch.

        Raises:
            Exception: the library's own, if it rejects the request.
        """
        ...

    def cancel(self, number: int) -> None:
        """Removes a request; unknown numbers are ignored."""
        ...

    def step(self) -> list[Step]:
        """Computes the next token of every request."""
        ...

    def numbers(self) -> list[int]:
        """Returns the requests in the batch."""
        ...

    def grammar_bytes(self) -> int:
        """Returns the memory of the compiled grammars that are kept."""
        ...


def main(fd: int, likely: str) -> None:
    """Serves one server over the socket `fd` until it closes."""
    # Ctrl-C and a container's SIGTERM reach the whole group; the server decides when the engine ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.disable()  # a start creates no garbage
    channel = Channel(socket.socket(fileno=fd))
    with suppress(ImportError):  # `new_backend` reports it
        import_module(_place(likely)[0]).warm()
    with suppress(EOFError, ConnectionError):
        _run(channel)
    os._exit(0)  # without destructors: the server is gone, and nothing is left to save


def _place(engine: str) -> tuple[str, str]:
    """Returns the module and the class of an engine's backend."""
    module, _, name = ENGINES[cast(EngineName, engine)].backend.partition(":")
    return f"{_ENGINES}.{module}", name


def new_backend(engine: str) -> EngineBackend:
    """Imports an engine's library, and returns its backend."""
    module, name = _place(engine)
    return cast(EngineBackend, getattr(import_module(module), name)())


def _run(channel: Channel) -> None:
    (first, *early), handles = channel.receive_first()
    order = LoadOrder(**first["load"])
    try:
        model = Embedder() if order.embedding else new_backend(order.engine)
        with _folder(order.files, handles) as folder:
            loaded = model.load(order, folder)
        channel.send({"loaded": loaded})
        gc.freeze()  # a collection would traverse all of the libraries, and delay every stream
        gc.enable()
    except Exception as e:  # any error of the library is the reason to report
        channel.send({"failed": f"{type(e).__name__}: {_line(e)}"})
        return
    if isinstance(model, Embedder):
        model.serve(channel, early)
    else:
        _generate(channel, model, early)


def _generate(channel: Channel, backend: EngineBackend, early: Iterable[Any]) -> None:
    """Runs steps, and takes requests between them."""
    outbox, told = Outbox(channel), 0
    _take(channel, backend, early)
    while True:
        _take(channel, backend, channel.receive(wait=not backend.numbers()))
        if (held := backend.grammar_bytes()) != told:
            channel.send({"grammar_bytes": held})
            told = held
        if backend.numbers() and not run_step(channel, backend, outbox):
            return


@contextmanager
def _folder(names: Iterable[str], handles: Iterable[int]) -> Iterator[Path]:
    """Yields a folder whose names link to this process's open files, so that changes of the original paths have no
    effect.
    """
    root = Path(tempfile.mkdtemp(prefix="llmops-model-"))
    try:
        for name, handle in zip(names, handles, strict=True):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(f"/proc/self/fd/{handle}")
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)
        for handle in handles:
            os.close(handle)


def _take(channel: Channel, backend: EngineBackend, messages: Iterable[Any]) -> None:
    for message in messages:
        if "cancel" in message:
            backend.cancel(message["cancel"])
            continue
        number, fields = message["add"]
        try:
            backend.add(number, GenerationRequest.of_dict(fields))
        except Exception as e:  # a request that the library rejects must not end the others
            channel.send({"lost": [number], "reason": f"the engine refused the request: {_line(e)}"})


class Outbox:
    """Collects steps' tokens for the server, because a message for each would cost more than the tokens.

    A message is sent at once for an answer's first or last token, and otherwise every 20 ms.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._held: dict[int, Step] = {}
        self._begun: set[int] = set()
        self._sent = 0.0

    def add(self, steps: Iterable[Step], running: list[int]) -> bool:
        """Adds a step's tokens. Returns whether an answer's first token was among them.

        Args:
            steps: the step's output.
            running: the requests that are still in the batch.
        """
        first, urgent = False, not running
        for number, ids, finish, chances in steps:
            first = first or number not in self._begun
            urgent = urgent or first or bool(finish)
            self._begun.add(number)
            before = self._held.get(number, (number, [], None, []))
            self._held[number] = (number, before[1] + ids, finish, before[3] + chances)
        now = time.monotonic()
        if urgent or now - self._sent >= _TOGETHER_SECONDS:
            self._channel.send({"step": list(self._held.values()), "running": len(running)})
            self._held, self._sent = {}, now
            self._begun.intersection_update(running)
        return first


def run_step(channel: Channel, backend: EngineBackend, outbox: Outbox) -> bool:
    """Runs a step and sends its tokens; after an answer's first token, leaves the processors to the server for a
    moment.

    Returns False after an exception, because every later step would raise too; a new process then loads the verified
    files again.
    """
    numbers = backend.numbers()
    try:
        steps = backend.step()
    except Exception as e:  # whatever a library raises
        channel.send({"lost": numbers, "reason": f"the engine failed: {_line(e)}"})
        return False
    running = backend.numbers()
    if outbox.add(steps, running) and running:
        time.sleep(_FIRST_TOKEN_SECONDS)
    return True


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
