"""Turns an answer's tokens into the text and tool calls for a client, and merges several answers into one stream."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence

from llmops_kit.core.models.tool_call_stream import CallReader, Read
from llmops_kit.serving.api.frames import Delta, TokenChance
from llmops_kit.serving.api.openai import ChatRequest, CompletionRequest
from llmops_kit.serving.engines.engine import Tokens
from llmops_kit.serving.prompts import Prompts
from llmops_kit.serving.text import Detokenizer, StopStrings


class Answer:
    """Decodes one answer into whole characters, up to a stop string, and splits them into text and tool calls."""

    def __init__(self, choice: int, request: ChatRequest | CompletionRequest, prompts: Prompts) -> None:
        self._choice = choice
        self._prompts = prompts
        self._detokenizer = Detokenizer(prompts.decode)
        self._stops = StopStrings(request.stop or ())
        form = prompts.call_form if isinstance(request, ChatRequest) and request.offered else None
        self._calls = CallReader(form) if form else None
        self._only_one = isinstance(request, ChatRequest) and request.parallel_tool_calls is False
        self._called = False

    def feed(self, tokens: Tokens) -> Iterator[Delta]:
        """Yields one piece for the client for each token; the last piece of an answer has `finish`."""
        for place, id_ in enumerate(tokens.ids):
            last = place == len(tokens.ids) - 1
            yield self._one(Tokens([id_], tokens.finish if last else None, tokens.chances[place : place + 1]))
        if not tokens.ids:
            yield self._one(tokens)

    def _one(self, tokens: Tokens) -> Delta:
        text, stopped = self._stops.feed(self._detokenizer.feed(tokens.ids))
        if tokens.finish and not stopped:
            rest, stopped = self._stops.feed(self._detokenizer.flush())
            text += rest + ("" if stopped else self._stops.flush())
        finish = "stop" if stopped else tokens.finish or ""
        calls: Sequence = ()
        if self._calls:
            read = self._read(self._calls, text, ends=bool(finish))
            text, calls = read.text, read.calls
            self._called = self._called or bool(calls)
            if self._only_one and self._calls.complete:
                calls, finish = [call for call in calls if call.call == 0], "stop"
        if finish == "stop" and self._called:
            finish = "tool_calls"
        return Delta(text, calls, self._chances(tokens), finish, self._choice)

    def _read(self, reader: CallReader, text: str, *, ends: bool) -> Read:
        read = reader.feed(text) if text else Read("", [])
        if not ends:
            return read
        rest = reader.flush()
        return Read(read.text + rest.text, read.calls + rest.calls)

    def _chances(self, tokens: Tokens) -> list[TokenChance]:
        found: list[TokenChance] = []
        for id_, (logprob, others) in zip(tokens.ids, tokens.chances, strict=False):
            likeliest = tuple(TokenChance(*self._prompts.token(other), chance) for other, chance in others)
            found.append(TokenChance(*self._prompts.token(id_), logprob, likeliest))
        return found


async def merged(answers: Sequence[AsyncGenerator[list[Delta], None]]) -> AsyncGenerator[list[Delta], None]:
    """Yields the pieces of several answers as they arrive; the first failure ends them all."""
    pieces: asyncio.Queue[list[Delta] | None] = asyncio.Queue()

    async def drain(answer: AsyncGenerator[list[Delta], None]) -> None:
        try:
            async for piece in answer:
                pieces.put_nowait(piece)
        finally:
            await answer.aclose()
            pieces.put_nowait(None)

    tasks = [asyncio.create_task(drain(answer)) for answer in answers]
    try:
        left = len(tasks)
        while left:
            if (piece := await pieces.get()) is not None:
                yield piece
                continue
            left -= 1
            for task in tasks:
                if task.done():
                    task.result()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
