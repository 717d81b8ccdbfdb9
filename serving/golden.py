"""Golden prompts: what a server must answer before it is ready, and is asked again while it serves."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from contract.documents.model import Golden
from contract.errors import ServingError
from contract.words import found
from serving.openai import ChatMessage, ChatRequest

_EARLY_SECONDS = 600.0
"""After its start, for which a server is watched closely: as long as rollouts bake, and longer."""
_EARLY_PAUSE_SECONDS = 60.0
_MORE = "x"
"""Stands for what may follow: `nine` may become `nineteen` with the next piece."""

Answer = Callable[[ChatRequest], AsyncGenerator[str, None]]


@dataclass(frozen=True)
class Quality:
    """How a version's golden prompts were answered."""

    passed: int
    total: int
    failure: ServingError | None
    """The first answer that lacks what it must have."""

    @property
    def score(self) -> float:
        """Share of the prompts that were answered rightly, 0 to 1."""
        return self.passed / self.total


async def ask_golden(prompts: Sequence[Golden], answer: Answer) -> Quality:
    """Asks every golden prompt, greedily; each answer is read only until it has what it must have."""
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
    """Returns the first expected string that does not stand in the text, as `contract.words.found` looks for it.

    Without expected strings, any text that is not empty will do.
    """
    if not expect:
        return "" if text.strip() else "any text"
    return next((alternatives for alternatives in expect if not found(text, [alternatives])), "")


def pause(usual: float, served: float) -> float:
    """Seconds until the golden prompts are asked again, by the seconds that a server has served for.

    A rollout watches a new version for some minutes: several samples have to come meanwhile.
    """
    return min(usual, _EARLY_PAUSE_SECONDS) if served < _EARLY_SECONDS else usual
