"""Questions that only an account answers (questions_<cloud>.toml): the kit's assumption, and the cloud's behaviour."""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from llmops_kit.cli.rehearsal.steps import Result


@dataclass(frozen=True)
class Question:
    """A question. `sure`: confidence in the assumption, in percent."""

    id: str
    asks: str
    source: str
    assumes: str
    sure: int
    step: str = ""
    """The step that answers it; empty: none does."""
    look: Callable[[Any], "CloudAnswer | str"] | None = None
    """Called with the Stage after the step has passed; returns the cloud's behaviour, or a text if it is as assumed."""
    otherwise: str = ""
    """Regular expression: if it matches a failed step's error, the cloud behaved differently."""
    beyond: str = ""
    """Why no step answers it, and what would."""


@dataclass(frozen=True)
class CloudAnswer:
    """A real cloud's behaviour in words, and whether it is as assumed."""

    did: str
    as_assumed: bool = True


@dataclass(frozen=True)
class Answered:
    """A question with its answer, for the report. `state`: as assumed, otherwise, not answered."""

    id: str
    question: str
    source: str
    assumed: str
    sure: int
    state: str
    did: str

    @property
    def row(self) -> dict[str, Any]:
        return asdict(self)


def load_questions(cloud: str, looks: "Mapping[str, Callable[[Any], CloudAnswer | str]]") -> tuple[Question, ...]:
    """Reads a cloud's questions; `look` names one of `looks`, `passed` is the answer if the step passed."""
    rows = tomllib.loads(Path(__file__).with_name("clouds").joinpath(f"questions_{cloud}.toml").read_text())["question"]
    for row in rows:
        if "passed" in row:
            row["look"] = partial(lambda answer, _stage: answer, row.pop("passed"))
        elif "look" in row:
            row["look"] = looks[row["look"]]
    return tuple(Question(**row) for row in rows)


def table(
    questions: Iterable[Question], answered: dict[str, dict[str, str]], results: Iterable[Result]
) -> list[Answered]:
    """Returns every question in order, with what is known about it."""
    states = {result.step.id: result.state for result in results}
    rows = []
    for each in questions:
        known = answered.get(each.id)
        state = known["state"] if known else "not answered"
        did = known["did"] if known else each.beyond or _why_not(each.step, states.get(each.step, "not run"))
        rows.append(Answered(each.id, each.asks, each.source, each.assumes, each.sure, state, did))
    return rows


def _why_not(step: str, state: str) -> str:
    if state == "passed":
        return f"the step {step} passed, but its results could not be read"
    return f"the step {step} was not run" if state == "not run" else f"the step {step} {state} for another reason"
