"""Golden prompts: a server must answer them before it is ready, and is asked again while it serves."""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from contract.documents.model import Golden
from contract.errors import ServingError
from contract.models.tool_call_stream import CallDelta
from contract.words import found
from serving.api.openai import ChatMessage, ChatRequest
from serving.tools import OfferedTool

_EARLY_SECONDS = 600.0
"""Time after the start in which a server is checked more often: longer than rollouts bake."""
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
        """Share of the prompts that were answered rightly, 0 to 1."""
        return self.passed / self.total


async def ask_golden(prompts: Sequence[Golden], answer: Answer) -> Quality:
    """Asks every golden prompt, greedily; a text is read only until it contains the expected strings."""
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
        fix="the version does not do what it was recorded to do: promote another one",
    )


def _add_call(calls: list[tuple[str, str]], piece: CallDelta) -> None:
    """Adds a piece of a call to the names and arguments so far."""
    if piece.call == len(calls):
        calls.append((piece.name, ""))
    name, arguments = calls[piece.call]
    calls[piece.call] = (name, arguments + piece.arguments)


def _missing_calls(golden: Golden, calls: Sequence[tuple[str, str]]) -> str:
    """Returns the expected calls in words if others were made; empty: they were made."""
    if golden.is_called_by(calls):
        return ""
    return "; ".join(f"{call.name} {json.dumps(call.arguments, ensure_ascii=False)}" for call in golden.calls)


def missing(expect: Sequence[str], text: str) -> str:
    """Returns the first expected string that is missing in the text, by the rules of `contract.words.found`.

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
