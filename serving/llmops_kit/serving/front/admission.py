"""Admits requests within limits on their number, running and waiting, and on the length of waiting prompts."""

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from llmops_kit.core.limits import RequestLimits
from llmops_kit.serving.errors import ApiError

_BYTES_A_TOKEN = 4
"""Estimated bytes of a body per token, because waiting prompts are not tokenised. English text has 4 to 5 characters
per token.
"""
_LONGEST_RETRY = 60
_WEIGHT = 0.2
"""Weight of the last answer's time in the moving average."""


class Admission:
    """Places in the engine's batch, and the queue for them, shared fairly between the callers' keys."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._admitted: Counter[str] = Counter()
        self._places: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._served: dict[str, int] = {}  # the number of each key's last grant
        self._grants = 0
        self._seconds = 0.0  # mean duration of an answer; 0: unknown yet
        self.waiting_tokens = 0
        """Estimated tokens of waiting prompts."""

    @property
    def running(self) -> int:
        """Requests that have a place."""
        return self._places.total()

    @property
    def queued(self) -> int:
        """Requests that wait for one."""
        return sum(map(len, self._waiting.values()))

    @contextmanager
    def admitted(self, key: str, keys: int) -> Iterator[None]:
        """Counts a request as admitted for the duration of the block, which begins before its body is read.

        Args:
            key: the name of the caller's key.
            keys: the number of keys. With several, one may use at most half of the room.

        Raises:
            ApiError: 429, there is no room.
        """
        room = self._limits.max_running + self._limits.max_queue
        if self._admitted.total() >= room or (keys > 1 and self._admitted[key] >= math.ceil(room / 2)):
            raise self._overloaded()
        self._admitted[key] += 1
        try:
            yield
        finally:
            self._admitted[key] -= 1
            if not self._admitted[key]:
                del self._admitted[key]

    @asynccontextmanager
    async def place(self, key: str, body: int) -> AsyncIterator[None]:
        """Waits for a place in the batch, and holds it for the duration of the block. A free place goes to the key with
        the fewest places; among several, to the one whose last grant is the oldest.

        Args:
            key: the name of the caller's key.
            body: bytes of the request's body.

        Raises:
            ApiError: 429, the waiting prompts are too long together.
        """
        if self.running < self._limits.max_running and not self.queued:
            self._take(key)
        else:
            await self._wait(key, body // _BYTES_A_TOKEN)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            yield
            took = loop.time() - begun
            self._seconds += (took - self._seconds) * (_WEIGHT if self._seconds else 1)
        finally:
            self._free(key)

    @contextmanager
    def more(self, key: str, places: int, param: str = "n") -> Iterator[None]:
        """Holds further places for a request that has one and asks for several answers by `param`.

        They are taken at once, above the limit if necessary: requests that each hold some of their places would wait
        for each other.

        Raises:
            ApiError: 400, the batch has fewer places.
        """
        if places >= self._limits.max_running:
            what = f"{param}: {places + 1} answers; this server generates {self._limits.max_running} at once"
            raise ApiError(400, what, code="invalid_value", param=param)
        for _ in range(places):
            self._take(key)
        try:
            yield
        finally:
            for _ in range(places):
                self._free(key)

    async def _wait(self, key: str, tokens: int) -> None:
        if self.waiting_tokens and self.waiting_tokens + tokens > self._limits.max_queue_tokens:
            raise self._overloaded()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        self.waiting_tokens += tokens
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free(key)  # it got its place while it was cancelled
            else:
                self._forget(key, turn)
            raise
        finally:
            self.waiting_tokens -= tokens

    def _free(self, key: str) -> None:
        self._places[key] -= 1
        if not self._places[key]:
            del self._places[key]
        while self._waiting and self.running < self._limits.max_running:
            chosen = min(self._waiting, key=lambda name: (self._places[name], self._served.get(name, 0)))
            turn = self._waiting[chosen].popleft()
            if not self._waiting[chosen]:
                del self._waiting[chosen]
            if not turn.done():  # otherwise it was cancelled a moment ago
                self._take(chosen)
                turn.set_result(None)

    def _take(self, key: str) -> None:
        self._places[key] += 1
        self._grants += 1
        self._served[key] = self._grants

    def _forget(self, key: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(key, deque())
        if turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[key]

    def _overloaded(self) -> ApiError:
        """Returns the error for a full queue, with Retry-After estimated from the duration of recent answers."""
        wait = self._seconds * (self.queued + 1) / self._limits.max_running
        retry = min(_LONGEST_RETRY, max(1, math.ceil(wait)))
        return ApiError(429, "too many requests are waiting; try again", code="overloaded", retry_after=retry)
