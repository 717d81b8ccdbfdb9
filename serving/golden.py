"""Golden prompts: a server must answer them before it is ready, and is asked again while it serves."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from contract.documents.model import Golden
from contract.errors import ServingError
from contract.words import found
from serving.openai import ChatMessage, ChatRequest

_EARLY_SECONDS = 600.0
"""Time after the start in which a server is checked more often: longer than rollouts bake."""
_EARLY_PAUSE_SECONDS = 60.0
_MORE = "x"
"""Placeholder for text that may follow: `nine` may become `nineteen` with the next piece."""

Answer = Callable[[ChatRequest], AsyncGenerator[str, None]]


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
    """Asks every golden prompt, greedily; each answer is read only until it contains the expected strings."""
    failures = [await _ask(number, golden, answer) for number, golden in enumerate(prompts)]
    return Quality(failures.count(None), len(failures), next(filter(None, failures), None))


async def _ask(number: int, golden: Golden, answer: Answer) -> ServingError | None:
    text = ""
    request = ChatRequest(
        messages=[ChatMessage(role=m.role, content=m.content) for m in golden.messages],
        max_tokens=golden.max_tokens,
        temperature=0.0,
    )
    async with aclosing(answer(request)) as pieces:
        async for piece in pieces:
            text += piece
            if not missing(golden.expect, text + _MORE):
                return None
    if not missing(golden.expect, text):
        return None
    return ServingError(
        f"the answer {text[:200]!r} lacks {missing(golden.expect, text)!r}",
        where=f"manifest.json: golden[{number}]",
        fix="the version does not do what it was recorded to do: promote another one",
    )


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
