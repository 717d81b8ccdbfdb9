"""A recipe's section `evaluation`: suites, and the gate on them."""

import math
from typing import Literal

from pydantic import Field, model_validator

from contract.documents.document import Part
from contract.documents.recipe_data import SplitName
from contract.names import Name

Metric = Literal["expect", "exact", "f1"]

MIN_GATE_GROUPS = 30
"""Fewer independent groups than this can't carry a gate: the interval of their mean is wider than any useful bound."""

MARGIN = 0.05
"""Of `not_worse_than` where a recipe says none: equal answers to 60 groups pass it."""


class Suite(Part):
    """Greedy answers to a split's rows, each with a score from 0 to 1."""

    name: Name
    split: SplitName
    metric: Metric = Field(
        default="expect",
        description="`expect`: all of the row's expected strings stand in the answer, as whole words. `exact`: the "
        "answer is the row's. `f1`: F1 of the words that the two share. Letter case and spaces don't count.",
    )
    max_tokens: int = Field(default=64, ge=1)
    limit: int = Field(default=0, ge=0, description="Rows taken, in order; 0: all.")


class GateCheck(Part):
    """Bounds on a suite's mean score. They hold for the lower end of the 95 % interval, not for the mean itself."""

    suite: Name
    low: float | None = Field(default=None, gt=0, le=1, description="Least lower bound of the score after training.")
    gain_low: float | None = Field(
        default=None, ge=0, le=1, description="Least lower bound of the gain over the base model, row by row."
    )
    not_worse_than: Literal["production"] | None = Field(
        default=None,
        description="`production`: `llmops promote` compares the version with the one that the endpoint serves.",
    )
    margin: float = Field(
        default=MARGIN,
        gt=0,
        le=1,
        description="By how much it may be worse than that: the difference's lower bound is at least -margin.",
    )

    @model_validator(mode="after")
    def _checks_something(self) -> "GateCheck":
        if self.low is None and self.gain_low is None and self.not_worse_than is None:
            raise ValueError("a gate check needs `low`, `gain_low` or `not_worse_than`")
        if self.margin != MARGIN and self.not_worse_than is None:
            raise ValueError("`margin` has no effect without `not_worse_than`")
        return self

    @property
    def least_groups(self) -> int:
        """Fewer groups can't pass it: with n of them, even equal answers leave a difference's lower bound at -3/n."""
        return max(MIN_GATE_GROUPS, math.ceil(3 / self.margin - 1e-9) if self.not_worse_than else 0)


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
        return self
