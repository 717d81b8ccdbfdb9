"""Golden prompts: a server must answer them before it is ready, and again at intervals while it serves."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from llmops_kit.core.documents.model import Golden
from llmops_kit.core.errors import ServingError
from llmops_kit.core.models.tool_call_stream import CallDelta
from llmops_kit.core.words import found
from llmops_kit.serving.api.model_card import ModelCard
from llmops_kit.serving.api.openai import ChatMessage, ChatRequest
from llmops_kit.serving.api.tools import OfferedTool
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.log import log_json, say
from llmops_kit.serving.metrics import Metrics

_EARLY_SECONDS = 600.0
"""Time after the start in which a server is checked more often: longer than a rollout watches it."""
_EARLY_PAUSE_SECONDS = 60.0
_MORE = "x"
"""Placeholder for text that may follow: `nine` may become `nineteen` with the next piece."""

Answer = Callable[[ChatRequest], AsyncGenerator[str | CallDelta, None]]
"""Yields the pieces of an answer: text, and pieces of tool calls."""


@dataclass(frozen=True)
class Quality:
    """The result of asking a version's golden prompts."""

    passed: int
    total: int
    failure: ServingError | None
    """The first answer that lacks an expected string."""

    @property
    def score(self) -> float:
        """Share of the prompts that were answered correctly, 0 to 1."""
        return self.passed / self.total


class QualityWatch:
    """Asks the golden prompts of the served version, and reports each result in the log, which a cloud's quality alarm
    reads, and in /metrics.
    """

    def __init__(self, card: ModelCard, answer: Answer, metrics: Metrics) -> None:
        self._card = card
        self._answer = answer
        self._metrics = metrics

    async def ask_first(self, *, required: bool) -> None:
        """Asks before the server is ready.

        Args:
            required: whether each answer must be correct; otherwise a wrong one is only reported.

        Raises:
            ServingError: the version may not serve, or gave no answer.
        """
        failure = (await self._ask("readiness")).failure
        if failure and required:
            raise failure
        _report(failure)

    async def ask_again(self, seconds: float) -> None:
        """Asks again at intervals, shorter at first, until it is cancelled. If a version gets worse, the server
        continues, and an alarm must react.

        Args:
            seconds: the usual interval; 0: never.
        """
        begun = time.monotonic()
        while seconds and self._card.manifest.golden:
            await asyncio.sleep(pause(seconds, time.monotonic() - begun))
            try:
                _report((await self._ask("interval")).failure)
            except (ApiError, ServingError) as e:
                _report(e)

    async def _ask(self, when: str) -> Quality:
        card = self._card
        try:
            quality = await ask_golden(card.manifest.golden, self._answer)
        except ApiError as e:
            raise ServingError(f"no answer: {e}", where="manifest.json: golden", fix="see the lines above") from None
        self._metrics.quality.set(quality.score)
        log_json(
            {
                "event": "quality", "when": when, "model": card.name, "sha256": card.sha256,
                "passed": quality.passed, "total": quality.total, "score": quality.score,
            }
        )  # fmt: skip
        return quality


def _report(failure: Exception | None) -> None:
    if failure:
        say(f"golden prompts: {failure}")


async def ask_golden(prompts: Sequence[Golden], answer: Answer) -> Quality:
    """Asks every golden prompt, greedily; stops each text as soon as it contains the expected strings."""
    failures = [await _ask(number, golden, answer) for number, golden in enumerate(prompts)]
    return Quality(failures.count(None), len(failures), next(filter(None, failures), None))


async def _ask(number: int, golden: Golden, answer: Answer) -> ServingError | None:
    text, calls = "", []
    request = ChatRequest(
        messages=[ChatMessage(role=m.role, content=m.content) for m in golden.messages],
        max_tokens=golden.max_tokens,
        temperature=0.0,
        tools=[OfferedTool.model_validate(tool) for tool in golden.tools] or None,
    )
    async with aclosing(answer(request)) as pieces:
        async for piece in pieces:
            if isinstance(piece, CallDelta):
                _add_call(calls, piece)
                continue
            text += piece
            if not golden.calls and not missing(golden.expect, text + _MORE):
                return None
    lacks = _missing_calls(golden, calls) if golden.calls else missing(golden.expect, text)
    if not lacks:
        return None
    shown = text or "; ".join(map(" ".join, calls))
    return ServingError(
        f"the answer {shown[:200]!r} lacks {lacks!r}",
        where=f"manifest.json: golden[{number}]",
        fix="the version does not give the answer that was recorded: promote another one",
    )


def _add_call(calls: list[tuple[str, str]], piece: CallDelta) -> None:
    """Adds a piece of a call to the names and arguments so far."""
    if piece.call == len(calls):
        calls.append((piece.name, ""))
    name, arguments = calls[piece.call]
    calls[piece.call] = (name, arguments + piece.arguments)


def _missing_calls(golden: Golden, calls: Sequence[tuple[str, str]]) -> str:
    """Returns the expected calls in words if the answer made others; empty if it made them."""
    if golden.is_called_by(calls):
        return ""
    return "; ".join(f"{call.name} {json.dumps(call.arguments, ensure_ascii=False)}" for call in golden.calls)


def missing(expect: Sequence[str], text: str) -> str:
    """Returns the first expected string that is missing in the text, by the rules of `llmops_kit.core.words.found`.

    Without expected strings, any text that is not empty passes.
    """
    if not expect:
        return "" if text.strip() else "any text"
    return next((alternatives for alternatives in expect if not found(text, [alternatives])), "")


def pause(usual: float, served: float) -> float:
    """Returns the seconds until the golden prompts are asked again, given how long a server has served.

    A rollout watches a new version for some minutes, in which it needs several samples.
    """
    return min(usual, _EARLY_PAUSE_SECONDS) if served < _EARLY_SECONDS else usual
