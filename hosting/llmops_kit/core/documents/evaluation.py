"""EvaluationAnswers: a job's answers to each evaluation row, from which scores and gate are computed.

A model version has it as evaluation.json, listed and hashed in the manifest. It has only answers: the
dataset decides whether they are right, in the job and again when the run is collected.
"""

from typing import ClassVar

from pydantic import Field

from llmops_kit.core.document import Document, Part
from llmops_kit.core.names import Name, Sha256


class Likelihood(Part):
    """Likelihood that a model gives to a row's own answer or text."""

    nats: float = Field(ge=0, allow_inf_nan=False, description="Negative log-likelihood: the loss, summed over tokens.")
    tokens: int = Field(ge=1, description="That bear loss.")


Answer = str | Likelihood
"""A greedy answer; of a suite `perplexity`, the likelihood of the row's own."""


class RowAnswers(Part):
    """Answers of the base model and the trained model to one row of the dataset."""

    row: Sha256 = Field(description="Of the row's line in the dataset.")
    before: Answer = Field(description="Of the base model.")
    after: Answer = Field(description="Of the packaged weights.")


class SuiteAnswers(Part):
    """The answers to a suite's rows, in the order of the dataset."""

    suite: Name
    rows: list[RowAnswers]


class GoldenAnswer(Part):
    """Answer to a correctly answered row, asked again in the other precision (bf16 or f32), in which a server may
    compute.
    """

    suite: Name
    row: Sha256
    answer: str


class EvaluationAnswers(Document):
    """evaluation.json of a model version."""

    SCHEMA: ClassVar[str] = "evaluation/1"

    suites: list[SuiteAnswers]
    golden: list[GoldenAnswer] = Field(default=[], description="In the order in which they were asked.")
