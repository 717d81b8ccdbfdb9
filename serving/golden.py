"""Golden prompts: what a server must answer before it is ready."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from contract.errors import ServingError
from contract.model import Golden
from serving.openai import ChatRequest, Message

Answer = Callable[[ChatRequest], AsyncGenerator[str, None]]


async def check_golden(prompts: Sequence[Golden], answer: Answer) -> None:
    """Ask every golden prompt, greedily; each answer is read only until it has what it must have.

    Raises:
        ServingError: the first prompt whose answer lacks an expected string.
    """
    for number, golden in enumerate(prompts):
        text = ""
        request = ChatRequest(
            messages=[Message(role=m.role, content=m.content) for m in golden.messages],
            max_tokens=golden.max_tokens,
            temperature=0.0,
        )
        async with aclosing(answer(request)) as pieces:
            async for piece in pieces:
                text += piece
                if not missing(golden.expect, text):
                    break
        if lacks := missing(golden.expect, text):
            raise ServingError(
                f"the answer {text[:200]!r} lacks {lacks!r}",
                where=f"manifest.json: golden[{number}]",
                fix="the version does not do what it was recorded to do: promote another one",
            )


def missing(expect: Sequence[str], text: str) -> str:
    """The first expected string that does not stand in the text, case and spaces aside; `a|b`: one of them will do.

    Without expected strings, any text that is not empty will do.
    """
    folded = _fold(text)
    if not expect:
        return "" if folded else "any text"
    for alternatives in expect:
        if not any(_fold(a) in folded for a in alternatives.split("|")):
            return alternatives
    return ""


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())
