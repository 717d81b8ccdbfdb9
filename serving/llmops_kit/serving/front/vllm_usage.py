"""Counts tokens where vLLM's app gets them from its engine, for every route and all options of a request.

The app's messages are not enough to count them: a stream's usage comes last, or not at all; a frame holds several
tokens, or none while a call's markup or half a character is held back; and a client that leaves gets no usage.
`stream_options` would change that only for streams of two routes. The engine's client has the tokens of each output, on
every route (vllm/engine/protocol.py, EngineClient; vllm/outputs.py, RequestOutput; the same in vLLM 0.32 and 0.33).
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from typing import Any

from llmops_kit.serving.log import say
from llmops_kit.serving.usage import Usage

_ABORT_SECONDS = 1.0
_FINISHED = ("stop", "length")
"""vLLM's finish reasons of complete answers; its others are those of cut answers."""


class _Work:
    """The work of vLLM's engine for one request: an answer to each of its prompts."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._running: set[str] = set()
        self._idle = asyncio.Event()
        self._ended = False

    async def counted(
        self, outputs: AsyncGenerator[Any, None], prompt: Any, request_id: str, *, deltas: bool
    ) -> AsyncGenerator[Any, None]:
        """Yields the engine's outputs, and counts the tokens of their prompt and answers.

        Args:
            outputs: of one prompt.
            prompt: in the engine's form.
            request_id: vLLM's, of this prompt.
            deltas: whether each output has the tokens since the last one; otherwise a single output has all.
        """
        if self._ended:  # the client left while its prompt was read
            raise asyncio.CancelledError
        asked, read = time.perf_counter(), False
        self._running.add(request_id)
        try:
            async with aclosing(outputs):  # otherwise a cut answer is computed until it is collected as garbage
                async for output in outputs:
                    if not read:
                        self._usage.read(len(output.prompt_token_ids or ()))
                        read = True
                    self._count(output, None if deltas else asked)
                    yield output
        except (asyncio.CancelledError, GeneratorExit):
            if not read:
                self._usage.read(_prompt_tokens(prompt))
            raise
        finally:
            self._running.discard(request_id)
            if not self._running:
                self._idle.set()

    async def abort(self, engine: Any) -> None:
        """Ends the engine's running work, waits until its tokens are counted, and prevents new work."""
        self._ended = True
        if not self._running:
            return
        self._idle.clear()
        try:
            async with asyncio.timeout(_ABORT_SECONDS):
                await engine.abort(list(self._running))
                await self._idle.wait()
        except Exception as e:  # of vLLM's own code, whose engine may be dead; tokens until then are counted
            say(f"vLLM did not abort an answer whose client is gone: {e!r}")

    def _count(self, output: Any, asked: float | None) -> None:
        """Counts an output that has just been generated; with the time of its request, a complete answer, by the times
        that the engine measured (vllm/v1/metrics/stats.py).
        """
        answers = output.outputs if isinstance(output.outputs, list) else []  # vectors are not answers
        counts = [len(answer.token_ids) for answer in answers]
        self._usage.finish = next(
            (a.finish_reason for a in answers if a.finish_reason in _FINISHED), self._usage.finish
        )
        if asked is None:
            self._usage.generated(sum(counts))
            return
        times, first, spread = getattr(output, "metrics", None), 0.0, 0.0
        if times and times.first_token_latency:
            first = asked - self._usage.started + times.first_token_latency
            spread = times.last_token_ts - times.first_token_ts
        self._usage.generated_before(counts, first, spread)


_WORK: ContextVar[_Work | None] = ContextVar("vllm_work", default=None)


def count_tokens(engine: Any) -> None:
    """Makes a client of vLLM's engine count the tokens of each request, in the usage of `counting`."""
    generate, encode = engine.generate, engine.encode

    def counted_generate(prompt: Any, sampling_params: Any, request_id: str, **more: Any) -> AsyncGenerator[Any, None]:
        outputs = generate(prompt, sampling_params, request_id, **more)
        deltas = sampling_params.output_kind.name == "DELTA"
        work = _WORK.get()
        return work.counted(outputs, prompt, request_id, deltas=deltas) if work else outputs

    def counted_encode(prompt: Any, pooling_params: Any, request_id: str, **more: Any) -> AsyncGenerator[Any, None]:
        outputs = encode(prompt, pooling_params, request_id, **more)
        work = _WORK.get()
        return work.counted(outputs, prompt, request_id, deltas=False) if work else outputs

    engine.generate, engine.encode = counted_generate, counted_encode


@asynccontextmanager
async def counting(engine: Any, usage: Usage) -> AsyncIterator[None]:
    """Counts in `usage` the tokens that the engine reads and generates for the request that the block answers.

    Cancelling the block ends the request in the engine too. vLLM's handlers would not: they compute an answer that is
    not streamed in a separate task, which continues when the handler is cancelled
    (vllm/entrypoints/serve/utils/api_utils.py, with_cancellation).
    """
    work = _Work(usage)
    token = _WORK.set(work)
    try:
        yield
    except asyncio.CancelledError:
        await work.abort(engine)
        raise
    finally:
        _WORK.reset(token)


def _prompt_tokens(prompt: Any) -> int:
    ids = prompt.get("prompt_token_ids") if isinstance(prompt, Mapping) else None
    return len(ids or ())
