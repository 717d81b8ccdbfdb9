"""Scores, gate and golden prompts, from the answers to each row: in the job, and again by whoever collects its run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from contract.documents.dataset import DatasetManifest
from contract.documents.evaluation import EvaluationAnswers, GoldenAnswer, RowAnswers, SuiteAnswers
from contract.documents.model import GateResult, Golden, Message, SuiteResult
from contract.documents.recipe import Recipe
from contract.documents.recipe_evaluation import MIN_GATE_GROUPS, GateCheck, Suite
from contract.errors import IntegrityError, RunError
from contract.integrity.digest import sha256_bytes
from contract.layout import EVALUATION, MANIFEST
from training.lines import read_lines
from training.metrics import mean_gain, mean_score, score_answer
from training.rows import Row, group_of, read_rows
from training.words import found

GOLDEN_PROMPTS = 4
_ASKED_AGAIN = 2 * GOLDEN_PROMPTS

# What any chat model answers with something; an import has no facts of its own to ask for.
ANY_ANSWER = Golden(messages=[Message(role="user", content="What is the capital of France?")], expect=[], max_tokens=16)


class GateVerdict(NamedTuple):
    """What follows from a run's answers."""

    evaluation: list[SuiteResult]
    gate: GateResult
    golden: list[Golden]


class SuiteRow(NamedTuple):
    """A row that a suite asks."""

    row: Row
    id: str
    """Sha256 of its line in the dataset, the line's end included."""
    group: str


def load_suite(suite: Suite, dataset: Path) -> list[SuiteRow]:
    """The rows that a suite asks, in the order of the dataset.

    Args:
        dataset: the folder of a dataset version.

    Raises:
        RunError: the split has no row that the suite's metric can score.
    """
    manifest = DatasetManifest.load(dataset / MANIFEST)
    file = manifest.splits.get(suite.split)
    path = dataset / (file or suite.split)
    rows: list[SuiteRow] = []
    if file:
        lines = list(read_lines(path))
        for number, row in read_rows(path):
            if row.expect or (suite.metric != "expect" and row.answer):
                rows.append(SuiteRow(row, sha256_bytes(lines[number - 1] + b"\n"), group_of(row, manifest.group)))
    if not rows:
        needs = "rows with `expect`" if suite.metric == "expect" else "rows"
        raise RunError(
            f"suite {suite.name!r} finds no {needs} in split {suite.split!r}",
            where=str(path),
            fix="hold rows out under data.split, or remove the suite from the recipe",
        )
    return rows[: suite.limit] if suite.limit else rows


def check_suites(recipe: Recipe, dataset: Path) -> None:
    """Refuse suites without rows, and gates that too few groups would decide.

    Args:
        dataset: the folder of the recipe's dataset version.

    Raises:
        RunError: naming the suite, how many groups it has, and how many a gate needs.
    """
    gated = {check.suite for check in recipe.evaluation.gate}
    for suite in recipe.evaluation.suites:
        groups = {row.group for row in load_suite(suite, dataset)}
        if suite.name in gated and len(groups) < MIN_GATE_GROUPS:
            raise RunError(
                f"the gate checks suite {suite.name!r}, which has {len(groups)} groups; it needs {MIN_GATE_GROUPS}",
                where=f"evaluation.suites: {suite.name}",
                fix=f"hold more out under data.split ({suite.split}), raise the suite's limit, or leave it out of the "
                "gate: then `llmops promote` needs --force",
            )


def record(
    rows: Mapping[str, Sequence[SuiteRow]],
    before: Mapping[str, Sequence[str]],
    after: Mapping[str, Sequence[str]],
    golden: Sequence[GoldenAnswer],
) -> EvaluationAnswers:
    """The document of a run's answers; rows, and the answers to them, by suite."""
    suites = [
        SuiteAnswers(
            suite=suite,
            rows=[
                RowAnswers(row=row.id, before=was, after=now)
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
    asked_again: list[tuple[Suite, SuiteRow]] = []
    for suite, given in zip(recipe.evaluation.suites, answers.suites, strict=True):
        rows = load_suite(suite, dataset)
        _require_rows(suite, rows, given)
        scores = {
            when: [
                score_answer(suite.metric, asked.row, getattr(answer, when))
                for asked, answer in zip(rows, given.rows, strict=True)
            ]
            for when in ("before", "after")
        }
        evaluation.append(_result(suite, [asked.group for asked in rows], scores["before"], scores["after"]))
        asked_again += [(suite, row) for row in to_ask_again(rows, scores["after"])]
    return GateVerdict(evaluation, decide(recipe.evaluation.gate, evaluation), _golden(asked_again, answers.golden))


def _result(suite: Suite, groups: list[str], before: list[float], after: list[float]) -> SuiteResult:
    return SuiteResult(
        suite=suite.name,
        split=suite.split,
        metric=suite.metric,
        before=mean_score(before, groups),
        after=mean_score(after, groups),
        gain=mean_gain(before, after, groups),
    )


def to_ask_again(rows: Sequence[SuiteRow], scores: Sequence[float]) -> list[SuiteRow]:
    """The rows of a suite that are asked in the other precision too: a prompt is golden only if both answers are right.

    A server checks golden prompts by their expected strings, so rows without any are not asked.
    """
    right = [asked for asked, score in zip(rows, scores, strict=True) if score == 1 and _may_be_golden(asked.row)]
    return right[:_ASKED_AGAIN]


def _may_be_golden(row: Row) -> bool:
    """Whether a server can ask it: it has expected strings, and neither tools nor calls."""
    plain = all(turn.keys() == {"role", "content"} for turn in row.prompt)
    return bool(row.expect) and plain and not row.tools


def decide(gate: list[GateCheck], results: list[SuiteResult]) -> GateResult:
    """Hold the lower bounds of the suites' results against the recipe's gate; each condition in words."""
    by_name = {r.suite: r for r in results}
    passed, reasons = bool(gate), [] if gate else ["the recipe has no gate"]
    for check in gate:
        result = by_name[check.suite]
        if result.after.groups < MIN_GATE_GROUPS:
            passed = False
            reasons.append(f"{check.suite}: {result.after.groups} groups, fewer than the {MIN_GATE_GROUPS} of a gate")
        for words, found_, least in (("score", result.after, check.low), ("gain", result.gain, check.gain_low)):
            if least is None or found_ is None:
                continue
            holds = found_.low >= least - 1e-9
            passed &= holds
            reasons.append(
                f"{check.suite}: {words} {found_.value:.2f}, {found_.low:.2f} at its lower bound, "
                f"{'at least' if holds else 'less than'} {least:.2f}"
            )
    return GateResult(passed=passed, reasons=reasons)


def _require_rows(suite: Suite, rows: Sequence[SuiteRow], given: SuiteAnswers) -> None:
    where = f"suite {suite.name}"
    _require(len(rows) == len(given.rows), where, f"has {len(given.rows)} answers, and the dataset {len(rows)} rows")
    for number, (row, answer) in enumerate(zip(rows, given.rows, strict=True), start=1):
        _require(row.id == answer.row, f"{where}, row {number}", "is no answer to the dataset's row")


def _golden(asked: Sequence[tuple[Suite, SuiteRow]], answers: Sequence[GoldenAnswer]) -> list[Golden]:
    """Prompts that were answered rightly twice: some of each suite, and then some of all."""
    _require(
        [(suite.name, row.id) for suite, row in asked] == [(a.suite, a.row) for a in answers],
        "golden",
        "are not the rows that were answered rightly",
    )
    of_suite: dict[str, list[Golden]] = {}
    for (suite, (row, _, _)), answer in zip(asked, answers, strict=True):
        if found(answer.answer, row.expect):
            prompt = [Message.model_validate(message) for message in row.prompt]
            golden = Golden(messages=prompt, expect=row.expect, max_tokens=suite.max_tokens)
            of_suite.setdefault(suite.name, []).append(golden)
    chosen = [golden for each in of_suite.values() for golden in each[:GOLDEN_PROMPTS]]
    return chosen[:GOLDEN_PROMPTS] or [ANY_ANSWER]


def _require(holds: bool, where: str, what: str) -> None:
    if not holds:
        raise IntegrityError(what, where=f"{EVALUATION}: {where}", fix="train again: `llmops train RECIPE --again`")
