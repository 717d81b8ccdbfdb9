"""Judgements: the verdicts of judges (suites `judge`), and the scores of suites `comet` and `program`.
Results are computed from them and the answers.

A model version has them as judgements.json, listed and hashed in the manifest. The caller asked for them, not the job.
"""

from typing import ClassVar, Literal

from pydantic import Field, FiniteFloat

from llmops_kit.core.document import Document, Part
from llmops_kit.core.names import Sha256


class JudgeVerdict(Part):
    """A judge's reply to one request, or a COMET model's `score`. Without `rating`, `better` and `score`: an unreadable
    reply.
    """

    rating: int | None = Field(default=None, ge=1, le=5, description="Of an answer that was shown alone.")
    better: Literal["first", "second", "tie"] | None = Field(default=None, description="Of two, as they were shown.")
    score: FiniteFloat | None = Field(
        default=None,
        exclude_if=lambda score: score is None,
        description="Of an answer, as COMET or a program gives it.",
    )
    reason: str = Field(default="", description="In the judge's words, shortened.")
    prompt_tokens: int = Field(default=0, ge=0, description="As the server counts them; 0: it does not say.")
    completion_tokens: int = Field(default=0, ge=0)

    @property
    def readable(self) -> bool:
        """Whether the reply had the requested form."""
        return (self.rating, self.better, self.score) != (None, None, None)


class Judgements(Document):
    """judgements.json of a model version."""

    SCHEMA: ClassVar[str] = "judgements/1"

    verdicts: dict[Sha256, JudgeVerdict] = Field(
        description="Sha256 of URL (or COMET model) and request -> the reply to it."
    )
