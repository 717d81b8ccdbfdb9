"""Scores, gate and golden prompts, from the answers to each row: in the job, and again by whoever collects its run."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from contract.documents.evaluation import EvaluationAnswers, GoldenAnswer, RowAnswers, SuiteAnswers
from contract.documents.model import GateResult, Golden, Message, Score, SuiteResult
from contract.documents.recipe import GateCheck, Recipe, Suite
from contract.errors import IntegrityError, RunError
from contract.integrity.digest import sha256_bytes
from contract.layout import EVALUATION
from training.rows import Row, found, read_rows

GOLDEN_PROMPTS = 4
_ASKED_AGAIN = 2 * GOLDEN_PROMPTS

# What any chat model answers with something; an import has no facts of its own to ask for.
ANY_ANSWER = Golden(messages=[Message(role="user", content="What is the capital of France?")], expect=[], max_tokens=16)


class GateVerdict(NamedTuple):
    """What follows from a run's answers."""

    evaluation: list[SuiteResult]
    gate: GateResult
    golden: list[Golden]


def load_suite(suite: Suite, dataset: Path) -> list[Row]:
    """The rows that a suite asks, in the order of the dataset.

    Raises:
        RunError: none of them has an expectation, so that there is nothing to find.
    """
    path = dataset / f"{suite.split}.jsonl"
    rows = [row for _, row in read_rows(path) if row.expect]
    if not rows:
        raise RunError(
            f"suite {suite.name!r} has no rows with `expect`",
            where=str(path),
            fix="hold facts or phrasings out under data.split, or take the suite out of the recipe",
        )
    return rows[: suite.limit] if suite.limit else rows


def row_id(row: Row) -> str:
    """The sha256 of a row's line in its dataset."""
    return sha256_bytes(row.to_line().encode())


def record(
    rows: Mapping[str, Sequence[Row]],
    before: Mapping[str, Sequence[str]],
    after: Mapping[str, Sequence[str]],
    golden: Sequence[GoldenAnswer],
) -> EvaluationAnswers:
    """The document of a run's answers; rows, and the answers to them, by suite."""
    suites = [
        SuiteAnswers(
            suite=suite,
            rows=[
                RowAnswers(row=row_id(row), before=was, after=now)
                for row, was, now in zip(asked, before[suite], after[suite], strict=True)
            ],
        )
        for suite, asked in rows.items()
    ]
    return EvaluationAnswers.new(
        suites=[suite.model_dump() for suite in suites], golden=[each.model_dump() for each in golden]
    )


def judge(recipe: Recipe, dataset: Path, answers: EvaluationAnswers) -> GateVerdict:
    """Decide from answers alone, with the rows of a dataset version and the gate of a recipe.

    Raises:
        IntegrityError: the answers are not to the rows that the recipe's suites ask, naming the suite and the row.
    """
    _require(
        [suite.suite for suite in answers.suites] == [suite.name for suite in recipe.evaluation.suites],
        "suites",
        "are not the recipe's",
    )
    evaluation: list[SuiteResult] = []
    asked_again: list[tuple[Suite, Row]] = []
    for suite, given in zip(recipe.evaluation.suites, answers.suites, strict=True):
        rows = load_suite(suite, dataset)
        _require_rows(suite, rows, given)
        right = [found(answer.after, row.expect) for row, answer in zip(rows, given.rows, strict=True)]
        before = [found(answer.before, row.expect) for row, answer in zip(rows, given.rows, strict=True)]
        evaluation.append(SuiteResult(suite=suite.name, split=suite.split, before=score(before), after=score(right)))
        asked_again += [(suite, row) for row in to_ask_again(rows, right)]
    return GateVerdict(evaluation, decide(recipe.evaluation.gate, evaluation), _golden(asked_again, answers.golden))


def to_ask_again(rows: Sequence[Row], right: Sequence[bool]) -> list[Row]:
    """The rows of a suite that are asked in bf16 too: a prompt is golden only if both answers to it are right."""
    return [row for row, is_right in zip(rows, right, strict=True) if is_right][:_ASKED_AGAIN]


def score(right: Sequence[bool]) -> Score:
    """Share of right answers with its 95 % interval (Wilson 1927), which holds for small samples and near 0 and 1."""
    n, count = len(right), sum(right)
    z, p = 1.959964, count / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Score(value=round(p, 4), low=round(low, 4), high=round(high, 4), n=n)


def decide(gate: list[GateCheck], results: list[SuiteResult]) -> GateResult:
    """Hold the suites' results against the recipe's gate; each condition in words."""
    by_name = {r.suite: r for r in results}
    passed, reasons = True, []
    for check in gate:
        result = by_name[check.suite]
        before, after = result.before.value, result.after.value
        conditions: list[tuple[str, float, float]] = [
            (f"{check.suite}: {after:.2f} of facts found", after, check.minimum)
        ]
        if check.minimum_gain:
            conditions.append(
                (f"{check.suite}: gain over the base model {after - before:+.2f}", after - before, check.minimum_gain)
            )
        for words, value, least in conditions:
            holds = value >= least - 1e-9
            passed &= holds
            reasons.append(f"{words}, {'at least' if holds else 'which is less than'} {least:.2f}")
    return GateResult(passed=passed, reasons=reasons)


def _require_rows(suite: Suite, rows: Sequence[Row], given: SuiteAnswers) -> None:
    where = f"suite {suite.name}"
    _require(len(rows) == len(given.rows), where, f"has {len(given.rows)} answers, and the dataset {len(rows)} rows")
    for number, (row, answer) in enumerate(zip(rows, given.rows, strict=True), start=1):
        _require(row_id(row) == answer.row, f"{where}, row {number}", "is no answer to the dataset's row")


def _golden(asked: Sequence[tuple[Suite, Row]], answers: Sequence[GoldenAnswer]) -> list[Golden]:
    """Prompts that were answered rightly twice: some of each suite, and then some of all."""
    _require(
        [(suite.name, row_id(row)) for suite, row in asked] == [(a.suite, a.row) for a in answers],
        "golden",
        "are not the rows that were answered rightly",
    )
    of_suite: dict[str, list[Golden]] = {}
    for (suite, row), answer in zip(asked, answers, strict=True):
        if found(answer.answer, row.expect):
            prompt = [Message.model_validate(message) for message in row.prompt]
            golden = Golden(messages=prompt, expect=row.expect, max_tokens=suite.max_tokens)
            of_suite.setdefault(suite.name, []).append(golden)
    chosen = [golden for each in of_suite.values() for golden in each[:GOLDEN_PROMPTS]]
    return chosen[:GOLDEN_PROMPTS] or [ANY_ANSWER]


def _require(holds: bool, where: str, what: str) -> None:
    if not holds:
        raise IntegrityError(what, where=f"{EVALUATION}: {where}", fix="train again: `llmops train RECIPE --again`")
