"""The server's side of an engine in its own process."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from dataclasses import asdict, fields
from typing import Any, cast

from llmops_kit.core.errors import ServingError
from llmops_kit.serving.engines.engine import Chance, EngineError, EngineInfo, Finish, GenerationRequest, Tokens
from llmops_kit.serving.engines.gathering import Gathering
from llmops_kit.serving.engines.spawn import WorkerProcess
from llmops_kit.serving.engines.wire import Lines, encode

_GONE = "the engine's process ended; it is being started again"
_NUMBERS = itertools.count()


class ProcessEngine:
    """An engine in a WorkerProcess: takes prompts, and returns tokens, or vectors of an embedding model.

    When the process ends, running answers raise EngineError and `ended` is set.
    """

    def __init__(self, worker: WorkerProcess, *, silence_seconds: float = 120.0) -> None:
        self.ended = asyncio.Event()
        self.running = 0
        """Requests in the engine's batch after its last step."""
        self.grammar_bytes = 0
        """Memory of the compiled grammars that the engine keeps."""
        self._worker = worker
        self._silence = silence_seconds
        self._mailboxes: dict[int, _Mailbox] = {}
        self._gathering = Gathering(self._send)
        self._vectors: dict[int, _Vectors] = {}
        # Never used twice, not even after a restart: a repeated number breaks openvino-genai's step.
        self._numbers = _NUMBERS
        self._loaded: asyncio.Future[EngineInfo] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._heard = 0.0
        self._watch: asyncio.Task[None] | None = None

    async def ready(self) -> EngineInfo:
        """Connects, and returns once the ordered model is loaded and can generate.

        Raises:
            ServingError: the model can't be loaded.
        """
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_unix_connection(
            lambda: _LineConnection(self._receive, self._lost), sock=self._worker.sock
        )
        self._transport = transport
        info = await self._loaded
        self._watch = loop.create_task(self._end_when_silent())
        return info

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Tokens, None]:
        """Yields the tokens of one answer as they arrive; the last item has `finish`.

        Closing the iterator early frees the answer's place in the batch.

        Raises:
            EngineError: the answer can't be finished.
        """
        if self.ended.is_set():
            raise EngineError(_GONE)
        if not self._busy:
            self._heard = asyncio.get_running_loop().time()
        number = next(self._numbers)
        mailbox = self._mailboxes[number] = _Mailbox()
        message = {"add": [number, _fields(request)]}
        self._gathering.add(number, message, len(request.prompt), running=len(self._mailboxes))
        try:
            while True:
                tokens = await mailbox.take()
                yield tokens
                if tokens.finish:
                    return
        finally:
            del self._mailboxes[number]
            if not (self._gathering.remove(number) or mailbox.complete or self.ended.is_set()):
                self._send([{"cancel": number}])

    async def embed(self, texts: list[list[int]]) -> list[str]:
        """Returns a vector for each text's token ids, as base64 of little-endian 32-bit floats.

        Raises:
            EngineError: the engine's process ended.
        """
        if self.ended.is_set():
            raise EngineError(_GONE)
        if not self._busy:
            self._heard = asyncio.get_running_loop().time()
        number = next(self._numbers)
        vectors = self._vectors[number] = _Vectors(len(texts), asyncio.get_running_loop().create_future())
        self._send([{"embed": [number, texts]}])
        try:
            await vectors.complete
            return vectors.found
        finally:
            del self._vectors[number]
            if not all(vectors.found) and not self.ended.is_set():
                self._send([{"cancel": number}])

    @property
    def _busy(self) -> bool:
        return bool(self._mailboxes or self._vectors)

    def fail_all(self, reason: str) -> None:
        """Ends every running answer with EngineError."""
        for mailbox in self._mailboxes.values():
            mailbox.fail(reason)
        for vectors in self._vectors.values():
            if not vectors.complete.done():
                vectors.complete.set_exception(EngineError(reason))

    async def close(self) -> None:
        """Kills the process, which has no state to save; running answers raise EngineError."""
        if self._watch:
            self._watch.cancel()
        if self._transport:
            self._transport.close()
        await asyncio.to_thread(self._worker.end)

    @property
    def pid(self) -> int:
        """Process id of the engine's worker, for its memory and its signals."""
        return self._worker.process.pid

    def _send(self, messages: list[dict[str, Any]]) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(b"".join(map(encode, messages)))

    def _receive(self, message: dict[str, Any]) -> None:
        self._heard = asyncio.get_running_loop().time()
        if "step" in message:
            self.running = message["running"]
            for number, ids, finish, chances in message["step"]:
                if mailbox := self._mailboxes.get(number):
                    mailbox.put(ids, finish, chances)
        elif "embedded" in message:
            number, found = message["embedded"]
            if vectors := self._vectors.get(number):
                vectors.put(found)
        elif "grammar_bytes" in message:
            self.grammar_bytes = message["grammar_bytes"]
        elif "lost" in message:
            for number in message["lost"]:
                if mailbox := self._mailboxes.get(number):
                    mailbox.fail(message["reason"])
        elif "loaded" in message:
            self._loaded.set_result(EngineInfo(**message["loaded"]))
        elif not self._loaded.done():
            self._loaded.set_exception(_not_loaded(message["failed"]))

    def _lost(self) -> None:
        self.ended.set()
        self.running = 0
        if not self._loaded.done():
            self._loaded.set_exception(_not_loaded(f"its process ended ({self._worker.process.poll()})"))
        self.fail_all(_GONE)

    async def _end_when_silent(self) -> None:
        """Kills an engine that has answers to compute but sends nothing, because it hangs."""
        loop = asyncio.get_running_loop()
        while not self.ended.is_set():
            await asyncio.sleep(self._silence / 4)
            if self._busy and loop.time() - self._heard > self._silence:
                self._worker.process.kill()


class _Mailbox:
    """Tokens of one answer on their way to its handler."""

    __slots__ = ("_chances", "_failure", "_finish", "_ids", "_waiter")

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._chances: list[Chance] = []
        self._finish: str | None = None
        self._failure = ""
        self._waiter: asyncio.Future[None] | None = None

    @property
    def complete(self) -> bool:
        """Whether the engine has nothing more to compute for this answer."""
        return bool(self._finish)

    def put(self, ids: list[int], finish: str | None, chances: list[Chance]) -> None:
        if finish == "lost":
            self.fail(
                "the engine dropped the request: its memory for running answers is full, or none of the model's tokens"
                " follows the schema"
            )
            self._finish = finish
            return
        self._ids += ids
        self._chances += chances
        self._finish = finish
        self._wake()

    def fail(self, reason: str) -> None:
        if not self._finish:
            self._failure = reason
            self._wake()

    async def take(self) -> Tokens:
        """Returns all tokens that have arrived; waits for the first."""
        if not (self._ids or self._finish or self._failure):
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._failure:
            raise EngineError(self._failure)
        tokens = Tokens(self._ids, cast(Finish | None, self._finish), self._chances)
        self._ids, self._chances = [], []
        return tokens

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)


class _Vectors:
    """Vectors of one request on their way to its handler."""

    def __init__(self, count: int, complete: asyncio.Future[None]) -> None:
        self.found = [""] * count
        self.complete = complete

    def put(self, vectors: list[tuple[int, str]]) -> None:
        for index, vector in vectors:
            self.found[index] = vector
        if all(self.found) and not self.complete.done():
            self.complete.set_result(None)


class _LineConnection(asyncio.Protocol):
    """Splits lines without another task, so that a token reaches its handler with one callback."""

    def __init__(self, receive: Callable[[Any], None], lost: Callable[[], None]) -> None:
        self._receive = receive
        self._lost = lost
        self._lines = Lines()

    def data_received(self, data: bytes) -> None:
        for message in self._lines.feed(data):
            self._receive(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()


def _fields(request: GenerationRequest) -> dict[str, Any]:
    """Returns the request as a dict like dataclasses.asdict, without copying each token of the prompt."""
    shallow = {field.name: getattr(request, field.name) for field in fields(request)}
    return shallow | {"grammar": asdict(request.grammar) if request.grammar else None}


def _not_loaded(reason: str) -> ServingError:
    return ServingError(
        f"the engine can't load the model: {reason}",
        where="engine",
        fix="LLMOPS_ENGINE and LLMOPS_PRECISION choose another way to run it",
    )
