"""Checks requests' JSON schemas and grammars in a process with limits: the event loop would be blocked, and a thread
could not be ended.
"""

import asyncio
import functools
import json
import os
import signal
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from typing import Any, NamedTuple

from llmops_kit.core.limits import RequestLimits
from llmops_kit.serving.engines.engine import Grammar
from llmops_kit.serving.errors import ApiError, unavailable
from llmops_kit.serving.front.admission import Admission
from llmops_kit.serving.metrics import Metrics

_KNOWN = 1024
"""Number of results that are cached."""
_WAITING = 31
"""Number of checks that wait for the process; those of one key fill at most half of it."""
_COMMAND = (sys.executable, "-m", "llmops_kit.serving.engines.checker")
_SECONDS = 20.0
"""Timeout of a check, whose own limit is one of CPU time: on a busy machine that takes longer."""
_START_SECONDS = 120.0
"""Time for an engine's library to load."""
_LONGEST_LINE = 1 << 20


class Vocabulary(NamedTuple):
    """The tokens for which a server compiles grammars, always the same."""

    engine: str
    tokens: Callable[[], list[bytes]]
    """Returns the bytes of each token; empty for special ones."""


class _Result(NamedTuple):
    """Result of a check."""

    place: str
    fault: str
    """Empty if there is none."""


_ENDED = _Result("", "it takes too much time or memory")


class SchemaChecks:
    """Runs checks in a process, and caches their results. The process starts with the first check, and again after a
    check that ended it.

    Callers' keys take turns. Equal checks run once, and to their end: ending the process because one client left would
    make all others wait for its next start.
    """

    def __init__(self, command: Sequence[str] = _COMMAND, seconds: float = _SECONDS) -> None:
        """Prepares the checks without starting the process.

        Args:
            command: of the process.
            seconds: time for a check.
        """
        self._command = command
        self._seconds = seconds
        self._known: OrderedDict[bytes, _Result] = OrderedDict()
        self._running: dict[bytes, asyncio.Task[_Result]] = {}
        self._turns = Admission(RequestLimits(max_running=1, max_queue=_WAITING))
        self._process: asyncio.subprocess.Process | None = None
        self._has_vocabulary = False
        self._closed = False
        self._starts = 0

    async def check_schemas(self, schemas: Mapping[str, Any], caller: str) -> None:
        """Checks that schemas are valid JSON schemas of supported keywords.

        Args:
            schemas: by their location in the request; they are within the limits of
                `llmops_kit.core.json_schema.bounds`.
            caller: the name of the caller's key.

        Raises:
            ApiError: 400, one is invalid, or takes too much time or memory; 429, too many checks wait; 503, they could
                not be checked.
        """
        if not schemas:
            return
        found = await self._result({"schemas": schemas}, caller)
        if found is _ENDED:
            raise _invalid(next(iter(schemas)), "takes too much time or memory to check")
        if found.fault:
            raise _invalid(found.place, found.fault)

    async def check_grammar(self, grammar: Grammar, vocabulary: Vocabulary, place: str, caller: str) -> None:
        """Checks that the engine can use a grammar.

        Args:
            place: names the grammar's origin in errors.
            caller: the name of the caller's key.

        Raises:
            ApiError: 400, it does not compile, or takes too much time or memory; 429, too many checks wait; 503, it
                could not be tried.
        """
        found = await self._result({"grammar": asdict(grammar)}, caller, vocabulary)
        if found is _ENDED:
            raise _invalid(place, "its grammar takes too much time or memory to compile")
        if found.fault:
            raise _invalid(place, found.fault)

    def watch(self, metrics: Metrics) -> None:
        """Exposes the number of processes that were started: the first one, and each that replaced another."""
        metrics.watch("llmops_schema_process_starts", "Processes started to check schemas.", lambda: self._starts)

    async def close(self) -> None:
        """Ends the process; requests that wait for it get a 503."""
        self._closed = True
        await self._end()

    async def _result(self, order: Mapping[str, Any], caller: str, vocabulary: Vocabulary | None = None) -> _Result:
        line = json.dumps(order).encode()
        key = sha256(line).digest()
        if known := self._known.get(key):
            self._known.move_to_end(key)
            return known
        if not (check := self._running.get(key)):
            check = asyncio.create_task(self._check(line, caller, vocabulary))
            self._running[key] = check
            check.add_done_callback(functools.partial(self._keep, key))
        return await asyncio.shield(check)

    def _keep(self, key: bytes, check: "asyncio.Task[_Result]") -> None:
        """Caches a check's result. An error is only raised in requests that wait for it, and not cached."""
        del self._running[key]
        if not check.cancelled() and not check.exception():
            self._known[key] = check.result()
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)

    async def _check(self, line: bytes, caller: str, vocabulary: Vocabulary | None) -> _Result:
        with self._turns.admitted(caller, keys=2):  # as of several keys, so that none fills the whole queue
            async with self._turns.place(caller, 0):
                process = self._process or await self._start()
                if vocabulary and not self._has_vocabulary:
                    await self._tell_vocabulary(process, vocabulary)
                answer = await self._ask(process, line, self._seconds)
                if not answer:
                    return self._ended(process)
                place, fault, retire = json.loads(answer)
                if retire:
                    await self._end()
                return _Result(place, fault)

    def _ended(self, process: asyncio.subprocess.Process) -> _Result:
        """Returns the result of a check that ended the process.

        Raises:
            ApiError: 503, the process was killed from outside, or the server is stopping.
        """
        if self._closed:
            raise unavailable("stopping")
        if process.returncode == -signal.SIGKILL:
            raise _unchecked("the check of its JSON schemas was ended")
        return _ENDED

    async def _start(self) -> asyncio.subprocess.Process:
        if self._closed:
            raise unavailable("stopping")
        variables = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._has_vocabulary = False
        self._starts += 1
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LONGEST_LINE,
            env={**os.environ, **variables},
        )  # fmt: skip
        if self._closed:
            await self._end()
            raise unavailable("stopping")
        return self._process

    async def _tell_vocabulary(self, process: asyncio.subprocess.Process, vocabulary: Vocabulary) -> None:
        tokens = await asyncio.to_thread(lambda: [token.decode("latin-1") for token in vocabulary.tokens()])
        line = json.dumps({"vocabulary": tokens, "engine": vocabulary.engine}).encode()
        if not await self._ask(process, line, _START_SECONDS):
            if self._closed:
                raise unavailable("stopping")
            raise _unchecked("grammars can't be tried; the server's log says why")
        self._has_vocabulary = True

    async def _ask(self, process: asyncio.subprocess.Process, line: bytes, seconds: float) -> bytes:
        """Sends a line to the process; returns its answer, empty if it ended.

        Raises:
            ApiError: 503, it took too long, and was ended.
        """
        assert process.stdin
        assert process.stdout
        answer = b""
        try:
            async with asyncio.timeout(seconds):
                with suppress(ConnectionError):
                    process.stdin.write(line + b"\n")
                    await process.stdin.drain()
                answer = await process.stdout.readline()
                if not answer:
                    await process.wait()  # first: `_end` would send a signal, and hide how the process ended
        except TimeoutError:
            raise _unchecked("the check of its JSON schemas did not end in time") from None
        finally:
            if not answer:
                await self._end()
        return answer

    async def _end(self) -> None:
        if process := self._process:
            self._process = None
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _invalid(place: str, what: str) -> ApiError:
    return ApiError(400, f"{place}: {what}", code="invalid_value", param=place)


def _unchecked(what: str) -> ApiError:
    return ApiError(503, f"{what}; try again", code="unavailable", retry_after=1)
