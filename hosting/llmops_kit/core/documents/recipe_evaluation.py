"""A recipe's section `evaluation`: suites, and the gate on them."""

import math
import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from llmops_kit.core.document import Part
from llmops_kit.core.documents.recipe_data import SplitName
from llmops_kit.core.documents.recipe_prepare import MODEL_PATTERN
from llmops_kit.core.json_schema.checks import check_schema
from llmops_kit.core.names import Name
from llmops_kit.core.twins import is_loopback

Metric = Literal[
    "expect",
    "exact",
    "f1",
    "perplexity",
    "translation",
    "tools",
    "schema",
    "refusal",
    "leak",
    "paraphrase",
    "judge",
    "comet",
    "program",
]
"""docs/how-to/evaluation.md describes each of them."""

LIKELIHOOD: Metric = "perplexity"
"""The only metric without answers: lower is better, without an upper bound. All others are from 0 to 1."""

MIN_GATE_GROUPS = 30
"""Fewer independent groups than this can't carry a gate: the interval of their mean is wider than any useful bound."""

_KEY_VARIABLE = re.compile(r"([A-Z][A-Z0-9_]*_)?API_KEY")
_OF_THE_KIT = ("model", "messages", "response_format", "stream", "n", "tools")
"""Fields of a request to a judge that `parameters` can't set."""

MARGIN = 0.05
"""Default margin of `not_worse_than`: equal answers to 54 groups pass it."""

_ROOM = 1.959964 * math.sqrt(2)
"""Equal answers to n groups leave a difference's lower bound at -_ROOM / (n + 2) (training/evaluation/score_means.py).
"""


def unit_of(metric: Metric) -> str:
    """Returns the unit of a metric's score; empty: a share, from 0 to 1."""
    return "nats per token" if metric == LIKELIHOOD else ""


class Judge(Part):
    """A model that scores answers, behind an OpenAI-compatible API. The caller asks it, never the job."""

    url: str = Field(description="Base URL, as in https://models.example.com/v1; http only to this machine.")
    model: str = Field(min_length=1, description="Name of the model on the server.")
    key: str = Field(
        default="",
        description="Environment variable of the caller that holds the API key; its name ends in API_KEY. Empty: none "
        "is sent.",
    )
    mode: Literal["rating", "pairwise"] = Field(
        default="rating",
        description="`rating`: each answer alone, from 1 to 5. `pairwise`: both models' answers, in both orders.",
    )
    rubric: str = Field(
        default="", description="Description of a good answer. Empty: the one in docs/how-to/evaluation.md."
    )
    parameters: dict[str, Any] = Field(
        default={"max_tokens": 1024, "temperature": 0},
        description="Fields of the request besides model and messages; they replace the default.",
    )
    structured: bool = Field(
        default=True,
        description="Send the reply's JSON schema as `response_format`. False: for servers that refuse it.",
    )

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("`url` is not a URL: write https://HOST/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "`url` contains a user, a password, a query or a fragment: name the variable of the key in `key`"
            )
        if parts.scheme == "http" and not is_loopback(url):
            raise ValueError("`url` would get answers and key unencrypted: write https://")
        return url

    @field_validator("key")
    @classmethod
    def _is_a_name(cls, key: str) -> str:
        # The error omits the value, which may be a key. The suffix keeps other variables from a judge's server.
        if key and not _KEY_VARIABLE.fullmatch(key):
            raise ValueError("`key` names an environment variable, as in JUDGE_API_KEY: it ends in API_KEY")
        return key

    @field_validator("parameters")
    @classmethod
    def _leaves_the_request(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        if used := sorted(set(parameters) & set(_OF_THE_KIT)):
            raise ValueError(f"`parameters` can't set {used[0]}")
        return parameters


class CometScorer(Part):
    """A COMET model that scores translations. The caller runs it, never the job."""

    model: str = Field(
        pattern=MODEL_PATTERN,
        description="Version in the stack's store for translation scoring, as in `comet-da@1`. `llmops train` adds "
        "its identity.",
    )


class ScoreProgram(Part):
    """A Python file of the user that scores answers. The caller runs it in a sandbox; a job never does."""

    file: str = Field(
        min_length=1,
        description="Path relative to the recipe. Its function `score` gets a row and returns a number from 0 to 1.",
    )
    sha256: str = Field(
        default="", pattern=r"^([0-9a-f]{64})?$", description="Digest of the file; `llmops train` adds it."
    )
    minutes: int = Field(default=60, ge=1, le=1440, description="Timeout for all rows together.")


class Suite(Part):
    """Greedy answers to a split's rows, each scored from 0 to 1; for `perplexity`, the loss of the rows' answers."""

    name: Name
    split: SplitName
    metric: Metric = Field(
        default="expect",
        description="`expect`: all of the row's expected strings are in the answer, as whole words. `exact`: the "
        "answer is the row's. `f1`: F1 of the words that the two share. Letter case and spaces don't count. "
        "`perplexity`: mean loss of the row's own answer or text, nats per token; lower is better. `translation`: "
        "chrF++. `tools`: the answer makes the row's tool calls, and no others. `schema`: JSON that its schema "
        "allows. `refusal`: refuses where the row's `refuse` says so, and only there. `leak`: holds none of the "
        "rows' `redacted` strings. `paraphrase`: F1 with the other answers of the row's group. `judge`: another model "
        "scores it, when the run is collected. `comet`: a COMET model of the store does, likewise. `program`: a Python "
        "file of yours does, likewise.",
    )
    max_tokens: int = Field(default=64, ge=1)
    only: dict[str, str] = Field(
        default={},
        exclude_if=lambda keys: not keys,
        description="Only rows whose keys have these values, as in `{category: irrelevance}`; empty: all.",
    )
    limit: int = Field(default=0, ge=0, description="Maximum number of rows, in order; 0: all.")
    languages: list[str] = Field(
        default=[], max_length=2, description="For rows of kind translation: from and to, as in `[en, de]`."
    )
    prompt: str = Field(
        default="",
        description="Prompt of such a row; `{text}` is the sentence in the first language. Empty: `Translate from en "
        "to de:` and the sentence.",
    )
    json_schema: dict[str, Any] = Field(
        default={}, description="For `schema`: the answers' JSON schema; a row's own `json_schema` takes precedence."
    )

    judge: Judge | None = Field(
        default=None,
        exclude_if=lambda judge: judge is None,
        description="For `judge`: the model that scores the answers, and how.",
    )

    comet: CometScorer | None = Field(
        default=None,
        exclude_if=lambda comet: comet is None,
        description="For `comet`: the model that scores the answers.",
    )

    program: ScoreProgram | None = Field(
        default=None,
        exclude_if=lambda program: program is None,
        description="For `program`: the file that scores the answers.",
    )

    @property
    def judged(self) -> bool:
        """Whether another model or a program of the user scores the answers, when the run is collected."""
        return any(each is not None for each in (self.judge, self.comet, self.program))

    @model_validator(mode="after")
    def _belongs_together(self) -> "Suite":
        if len(self.languages) == 1:
            raise ValueError("`languages` must be two: from and to, as in [en, de]")
        if self.prompt and not self.languages:
            raise ValueError("`prompt` has no effect without `languages`")
        if self.prompt and "{text}" not in self.prompt:
            raise ValueError("`prompt` must contain {text}, the place of the sentence")
        if (self.judge is None) == (self.metric == "judge"):
            raise ValueError("`judge` and `metric: judge` go together")
        if (self.comet is None) == (self.metric == "comet"):
            raise ValueError("`comet: {model: NAME@N}` and `metric: comet` go together")
        if (self.program is None) == (self.metric == "program"):
            raise ValueError("`program: {file: score.py}` and `metric: program` go together")
        if self.comet and not self.languages:
            raise ValueError("`metric: comet` needs `languages`: it compares with the sentence in the first one")
        if self.json_schema and self.metric != "schema":
            raise ValueError("`json_schema` has no effect without `metric: schema`")
        if self.json_schema:
            try:
                check_schema(self.json_schema)
            except ValueError as e:
                raise ValueError(f"`json_schema` {e}") from None
        return self


class GateCheck(Part):
    """Bounds on a suite's mean score. They are compared with an end of its 95 % interval, not with the mean."""

    suite: Name
    low: float | None = Field(
        default=None, gt=0, le=1, description="Minimum of the lower bound of the score after training."
    )
    high: float | None = Field(
        default=None,
        gt=0,
        description="For `perplexity`: maximum of the upper bound of the loss after training, in nats per token.",
    )
    gain_low: float | None = Field(
        default=None,
        ge=0,
        description="Minimum of the lower bound of the gain over the base model, row by row; for `perplexity`, of the "
        "decrease.",
    )
    copy_gain_low: float | None = Field(
        default=None,
        ge=0,
        le=1,
        exclude_if=lambda bound: bound is None,
        description="For `translation` with `languages`: minimum of the lower bound of the gain over returning each "
        "source untranslated.",
    )
    not_worse_than: Literal["production"] | None = Field(
        default=None,
        description="`production`: `llmops promote` compares the version with the one that the endpoint serves.",
    )
    margin: float = Field(
        default=MARGIN,
        gt=0,
        le=1,
        description="How much worse it may be: the lower bound of the difference must be at least -margin.",
    )

    @model_validator(mode="after")
    def _checks_something(self) -> "GateCheck":
        bounds = (self.low, self.high, self.gain_low, self.copy_gain_low, self.not_worse_than)
        if all(bound is None for bound in bounds):
            raise ValueError("a gate check needs `low`, `high`, `gain_low`, `copy_gain_low` or `not_worse_than`")
        if self.margin != MARGIN and self.not_worse_than is None:
            raise ValueError("`margin` has no effect without `not_worse_than`")
        return self

    @property
    def least_groups(self) -> int:
        """Minimum number of groups to pass the check: with fewer, even equal answers would fail."""
        return max(MIN_GATE_GROUPS, math.ceil(_ROOM / self.margin) - 2 if self.not_worse_than else 0)

    def require_fit(self, suite: Suite) -> None:
        """Reject bounds on the wrong side of a suite's metric, and those without a score.

        Raises:
            ValueError: naming the key to use.
        """
        metric = suite.metric
        if self.copy_gain_low is not None and not (metric == "translation" and suite.languages):
            raise ValueError(
                f"the gate's `copy_gain_low` on suite {self.suite!r}: only translations have a source to copy; it "
                "needs `metric: translation` and `languages`"
            )
        if metric == LIKELIHOOD and self.low is not None:
            raise ValueError(
                f"the gate's `low` on suite {self.suite!r}: lower perplexity is better; write `high`, the maximum of "
                "the upper bound in nats per token"
            )
        if metric != LIKELIHOOD and self.high is not None:
            raise ValueError(f"the gate's `high` on suite {self.suite!r}: higher {metric} is better; write `low`")
        if metric != LIKELIHOOD and self.gain_low is not None and self.gain_low > 1:
            raise ValueError(
                f"the gate's `gain_low` on suite {self.suite!r} is {self.gain_low:g}: scores are at most 1"
            )


class Evaluation(Part):
    """Suites run before and after training, and the gate on them."""

    suites: list[Suite] = Field(min_length=1)
    gate: list[GateCheck] = Field(
        default=[], description=f"Each suite needs {MIN_GATE_GROUPS} groups. Empty: no version passes."
    )

    @model_validator(mode="after")
    def _gate_names_suites(self) -> "Evaluation":
        known = {s.name: s for s in self.suites}
        for check in self.gate:
            if check.suite not in known:
                raise ValueError(f"the gate names suite {check.suite!r}; there are {sorted(known)}")
            if known[check.suite].split == "train":
                raise ValueError(f"the gate checks suite {check.suite!r} on trained rows, which proves nothing")
            check.require_fit(known[check.suite])
        return self
