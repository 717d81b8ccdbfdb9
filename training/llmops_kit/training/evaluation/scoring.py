"""Scores, gate and golden prompts from the answers to each row: in the job, and again when a run is collected."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.evaluation import Answer, EvaluationAnswers, GoldenAnswer, RowAnswers, SuiteAnswers
from llmops_kit.core.documents.model import (
    CopiedSources,
    CorpusScore,
    GateResult,
    Golden,
    GoldenCall,
    Message,
    Score,
    SuiteResult,
)
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_evaluation import MIN_GATE_GROUPS, GateCheck, Suite, unit_of
from llmops_kit.core.errors import IntegrityError, RunError, require_packages
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import EVALUATION, MANIFEST
from llmops_kit.core.words import found
from llmops_kit.training.data.rows import Row, group_of, read_lines_and_rows
from llmops_kit.training.data.translations import as_conversation, require_pairs
from llmops_kit.training.evaluation.judging import Verdicts, judge_requests, judge_use, judged_scores
from llmops_kit.training.evaluation.score_means import Scored, gain_of, summarise
from llmops_kit.training.evaluation.scorers import (
    SCORERS,
    SuiteRow,
    can_score,
    corpus_scores,
    own_calls,
    require_kind,
    score_answers,
)
from llmops_kit.training.models.golden import ANY_ANSWER

GOLDEN_PROMPTS = 4
_ASKED_AGAIN = 2 * GOLDEN_PROMPTS
_LONGEST_TOOLS = 16_384
"""Characters of the tools of a golden prompt: half of what a server takes in a request."""
_HOLDING_EXPECTED = ("expect", "exact", "f1", "translation")
"""Metrics by which a right answer contains the row's expected strings, or is the translation."""


class GateVerdict(NamedTuple):
    """The results that follow from a run's answers."""

    evaluation: list[SuiteResult]
    gate: GateResult
    golden: list[Golden]


def load_suite(suite: Suite, dataset: Path) -> list[SuiteRow]:
    """Returns the rows that a suite asks, in the order of the dataset.

    Args:
        dataset: the folder of a dataset version.

    Raises:
        RunError: the split has no row that the suite's metric can score.
        DataError: a row has what the metric needs, but it is invalid; naming file and line.
    """
    if suite.metric == "translation":
        require_packages("data", "sacrebleu")
    manifest = DatasetManifest.load(dataset / MANIFEST)
    file = manifest.splits.get(suite.split)
    rows, others = _scored_rows(suite, dataset / file, manifest.group) if file else ([], [])
    if not rows:
        fix = "hold rows out under data.split, or remove the suite from the recipe"
        if suite.only and not others:
            fix = f"none of its rows has {', '.join(f'{k}: {v}' for k, v in suite.only.items())}: correct `only`"
        if others:
            fix = f"write what metric {suite.metric!r} needs into the rows, or choose another metric or split"
        raise RunError(
            f"suite {suite.name!r} finds no {SCORERS[suite.metric].needs} in split {suite.split!r}",
            where=others[0] if others else f"evaluation.suites: {suite.name}",
            fix=fix,
        )
    return rows


def load_suites(suites: Sequence[Suite], dataset: Path) -> dict[str, list[SuiteRow]]:
    """Returns suite -> the rows that it asks (`load_suite`)."""
    return {suite.name: load_suite(suite, dataset) for suite in suites}


def _scored_rows(suite: Suite, path: Path, group: str) -> tuple[list[SuiteRow], list[str]]:
    """Returns the rows of a file that a suite can score, and the locations of the others."""
    rows: list[SuiteRow] = []
    others: list[str] = []
    for number, line, row in read_lines_and_rows(path):
        asked, where = _asked(suite, row), f"{path}:{number}"
        source = "" if asked is row else row.translation[suite.languages[0]]
        if any(row.metadata.get(key) != value for key, value in suite.only.items()):
            continue
        if can_score(suite, asked, where) and (source or not suite.comet):
            by = group_of(row, group) or group_of(row, "")  # without its key, a row is a separate observation
            rows.append(SuiteRow(asked, sha256_bytes(line + b"\n"), by, source))
        else:
            others.append(where)
    rows = rows[: suite.limit] if suite.limit else rows
    if suite.metric == "paraphrase":
        members = Counter(asked.group for asked in rows if asked.group)
        rows = [asked for asked in rows if members[asked.group] > 1]
    return rows, others


def _asked(suite: Suite, row: Row) -> Row:
    """Returns a row in the form that a suite asks: a pair of sentences becomes a prompt and its answer."""
    return (as_conversation(row, suite.languages, suite.prompt) if suite.languages else None) or row


def check_suites(recipe: Recipe, dataset: Path) -> dict[str, list[SuiteRow]]:
    """Refuses suites and translations without rows, and gates that would be decided by too few groups.

    Args:
        dataset: the folder of the recipe's dataset version.

    Returns:
        Suite -> the rows that it asks.

    Raises:
        RunError: naming the suite, its number of groups, and the number that a gate needs; or the translation.
    """
    manifest = DatasetManifest.load(dataset / MANIFEST)
    require_pairs(recipe.training.translations, dataset / manifest.splits["train"])
    suites = load_suites(recipe.evaluation.suites, dataset)
    for suite in recipe.evaluation.suites:
        groups = {row.group for row in suites[suite.name]}
        least = max((check.least_groups for check in recipe.evaluation.gate if check.suite == suite.name), default=0)
        if len(groups) < least:
            raise RunError(
                f"the gate checks suite {suite.name!r}, which has {len(groups)} groups; it needs {least}",
                where=f"evaluation.suites: {suite.name}",
                fix=f"{_more_groups(recipe, suite, manifest, len(groups), least)}; or leave the suite out of the gate: "
                "then `llmops promote` needs --force and a --reason",
            )
    return suites


def _more_groups(recipe: Recipe, suite: Suite, manifest: DatasetManifest, groups: int, least: int) -> str:
    """Returns the fix: how a suite gets as many groups as its gate needs."""
    split, missing = recipe.data.split, least - groups
    ways: list[str] = []
    if not suite.only and not suite.limit and manifest.groups.get(suite.split, 0) > groups:
        ways.append(
            f"write what metric {suite.metric!r} needs ({SCORERS[suite.metric].needs}) into the split's other groups"
        )
    if suite.limit and suite.limit < manifest.rows[suite.split]:
        ways.append(f"raise the suite's `limit: {suite.limit}`")
    if least > MIN_GATE_GROUPS:
        ways.append("raise the check's `margin`")
    if suite.split == "rephrased":
        ways.append(
            f"write rows with {missing} more values of `{split.group}`, each with {split.rephrased + 1} prompts or "
            "more: each value is a group"
        )
    elif any(source.split == suite.split for source in recipe.data.sources):
        ways.append(f"write rows of {missing} more groups into the source with `split: {suite.split}`")
    else:
        total = sum(manifest.groups[name] for name in ("train", "validation", "test") if name in manifest.groups)
        rows = "" if total > least else f", and write rows of more groups: the data has {total}"
        ways.append(f"hold out {least} groups by data.split.{suite.split}{rows}")
    return ", or ".join(ways)


def record(
    rows: Mapping[str, Sequence[SuiteRow]],
    before: Mapping[str, Sequence[str | Mapping[str, Any]]],
    after: Mapping[str, Sequence[str | Mapping[str, Any]]],
    golden: Sequence[GoldenAnswer],
) -> EvaluationAnswers:
    """Returns the document of a run's answers; rows, and the answers to them, by suite."""
    suites = [
        SuiteAnswers(
            suite=suite,
            rows=[
                RowAnswers.model_validate({"row": row.id, "before": was, "after": now})
                for row, was, now in zip(asked, before[suite], after[suite], strict=True)
            ],
        )
        for suite, asked in rows.items()
    ]
    return EvaluationAnswers.new(
        suites=[suite.model_dump() for suite in suites], golden=[each.model_dump() for each in golden]
    )


def assess(
    recipe: Recipe, suites: Mapping[str, Sequence[SuiteRow]], answers: EvaluationAnswers, verdicts: Verdicts | None
) -> GateVerdict:
    """Scores a run from answers alone, with the rows of a dataset version and the gate of a recipe.

    Args:
        suites: suite -> the rows that it asks (`load_suites`).
        verdicts: the judges' verdicts; None if they were not asked, so that suites `judge` and `comet` have no result,
            and a gate on one is not passed.

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
        rows = suites[suite.name]
        _require_rows(suite, rows, given)
        before, after = ([getattr(answer, when) for answer in given.rows] for when in ("before", "after"))
        if not suite.judged or verdicts is not None:
            evaluation.append(suite_result(suite, rows, before, after, verdicts or {}))
        asked_again += [(suite, row) for row in to_ask_again(suite, rows, after)]
    return GateVerdict(evaluation, decide(recipe.evaluation.gate, evaluation), _golden(asked_again, answers.golden))


def score_both(
    suite: Suite, rows: Sequence[SuiteRow], before: Sequence[Answer], after: Sequence[Answer], verdicts: Verdicts
) -> tuple[Scored, Scored]:
    """Returns the scores of two models' answers to the same rows.

    Raises:
        IntegrityError: an answer is not of the form that the suite's metric scores, or the two count different tokens.
        KitError: a judge's verdict is missing.
    """
    if suite.judged:
        require_kind(suite, [*before, *after])
        was, now = judged_scores(suite, rows, before, after, verdicts)
        return Scored(was, [1] * len(rows)), Scored(now, [1] * len(rows))
    was, now = (score_answers(suite, rows, answers) for answers in (before, after))
    _require(was.weights == now.weights, f"suite {suite.name}", "counts other tokens before than after")
    return was, now


def suite_result(
    suite: Suite, rows: Sequence[SuiteRow], before: Sequence[Answer], after: Sequence[Answer], verdicts: Verdicts
) -> SuiteResult:
    """Returns the scores of two models' answers to the same rows.

    Raises:
        IntegrityError, KitError: as of `score_both`.
    """
    groups = [asked.group for asked in rows]
    was, now = score_both(suite, rows, before, after, verdicts)
    copies = _copies(suite, rows)
    corpus = [corpus_scores(suite, rows, answers) for answers in (before, after, *([copies] if copies else []))]
    return SuiteResult(
        suite=suite.name,
        split=suite.split,
        metric=suite.metric,
        before=summarise(suite.metric, was, groups),
        after=summarise(suite.metric, now, groups),
        gain=gain_of(suite.metric, was, now, groups),
        corpus=[
            CorpusScore(
                name=name, before=value, after=corpus[1][name], copied=corpus[2][name] if len(corpus) == 3 else None
            )
            for name, value in corpus[0].items()
        ],
        copied=_copied(suite, rows, copies, now) if copies else None,
        judge=judge_use(suite, judge_requests(suite, rows, before, after), verdicts) if suite.judged else None,
    )


def _copies(suite: Suite, rows: Sequence[SuiteRow]) -> list[str]:
    """Returns the sources of a suite `translation`, as if they were answers; empty if a row has none."""
    sources = [asked.source for asked in rows]
    return sources if suite.metric == "translation" and all(sources) else []


def _copied(suite: Suite, rows: Sequence[SuiteRow], copies: Sequence[str], now: Scored) -> CopiedSources:
    groups = [asked.group for asked in rows]
    scored = score_answers(suite, rows, copies)
    return CopiedSources(score=summarise(suite.metric, scored, groups), gain=gain_of(suite.metric, scored, now, groups))


def to_ask_again(suite: Suite, rows: Sequence[SuiteRow], answers: Sequence[Answer]) -> list[SuiteRow]:
    """Returns the rows of a suite that are also asked in the other precision: a prompt is golden only if both answers
    are right.

    A server checks golden prompts by their expected strings or calls, so rows without any are excluded, as are suites
    by whose metric an answer can be right without them.
    """
    if suite.metric not in (*_HOLDING_EXPECTED, "tools"):
        return []
    scores = score_answers(suite, rows, answers).values
    right = [asked for asked, score in zip(rows, scores, strict=True) if score == 1 and _may_be_golden(suite, asked)]
    return right[:_ASKED_AGAIN]


def _may_be_golden(suite: Suite, asked: SuiteRow) -> bool:
    """Returns whether a server can ask the row: its answer is expected to contain something, and its prompt contains no
    tool calls.
    """
    if not all(turn.keys() == {"role", "content"} for turn in asked.row.prompt):
        return False
    if suite.metric == "tools":
        tools = json.dumps([tool.to_dict() for tool in asked.row.tools])
        return bool(own_calls(asked.row)) and len(tools) <= _LONGEST_TOOLS
    return bool(_expected(suite, asked)) and not asked.row.tools


def _expected(suite: Suite, asked: SuiteRow) -> list[str]:
    """Returns the strings that an answer must contain: the row's expected strings; for a suite `translation`, the
    translation, unless the source contains it too, or its `|` would separate alternatives.
    """
    if suite.metric != "translation":
        return asked.row.expect
    expected = [asked.row.answer]
    copied = found(asked.source or asked.row.prompt[-1]["content"], expected)
    return [] if copied or "|" in asked.row.answer else expected


def decide(gate: list[GateCheck], results: list[SuiteResult]) -> GateResult:
    """Checks the lower bounds of the suites' results against the recipe's gate; returns each condition in words."""
    by_name = {r.suite: r for r in results}
    passed, reasons = bool(gate), [] if gate else ["the recipe has no gate"]
    for check in gate:
        if (result := by_name.get(check.suite)) is None:
            passed = False
            reasons.append(f"{check.suite}: its judge was not asked yet; `llmops runs collect` asks it")
            continue
        if result.after.groups < MIN_GATE_GROUPS:
            passed = False
            reasons.append(f"{check.suite}: {result.after.groups} groups, fewer than the {MIN_GATE_GROUPS} of a gate")
        for holds, words in _conditions(check, result):
            passed &= holds
            reasons.append(f"{check.suite}: {words}")
        if check.not_worse_than:
            reasons.append(f"{check.suite}: `llmops promote` compares it with {check.not_worse_than}")
    return GateResult(passed=passed, reasons=reasons)


def _conditions(check: GateCheck, result: SuiteResult) -> Iterator[tuple[bool, str]]:
    """Yields for each bound whether it holds, and the condition in words."""
    unit = unit_of(result.metric)
    over_copies = result.copied and result.copied.gain
    for name, score, least in (
        ("score", result.after, check.low),
        ("gain", result.gain, check.gain_low),
        ("gain over copying", over_copies, check.copy_gain_low),
    ):
        if least is not None and score is not None:
            holds = score.low >= least - 1e-9
            yield holds, _in_words("decrease" if unit else name, score, unit, holds, least, "low")
    if check.high is not None:
        holds = result.after.high <= check.high + 1e-9
        yield holds, _in_words("loss", result.after, unit, holds, check.high, "high")


def _in_words(name: str, score: Score, unit: str, holds: bool, bound: float, end: Literal["low", "high"]) -> str:
    words = ("at least", "less than") if end == "low" else ("at most", "more than")
    side = {"low": "lower", "high": "upper"}[end]
    return (
        f"{name} {score.value:.2f}{unit and ' ' + unit}, {getattr(score, end):.2f} at its {side} bound, "
        f"{words[not holds]} {bound:.2f}"
    )


def not_worse(check: GateCheck, difference: Score) -> tuple[bool, str]:
    """Checks a paired difference to another version against a check's margin; returns whether it holds, and the
    condition in words.
    """
    holds = difference.low >= -check.margin - 1e-9
    words = (
        f"{check.suite}: difference {difference.value:+.2f}, {difference.low:+.2f} at its lower bound, "
        f"{'at least' if holds else 'less than'} {-check.margin:+.2f}"
    )
    return holds, words


def _require_rows(suite: Suite, rows: Sequence[SuiteRow], given: SuiteAnswers) -> None:
    where = f"suite {suite.name}"
    _require(len(rows) == len(given.rows), where, f"has {len(given.rows)} answers, and the dataset {len(rows)} rows")
    for number, (row, answer) in enumerate(zip(rows, given.rows, strict=True), start=1):
        _require(row.id == answer.row, f"{where}, row {number}", "is no answer to the dataset's row")


def _golden(asked: Sequence[tuple[Suite, SuiteRow]], answers: Sequence[GoldenAnswer]) -> list[Golden]:
    """Returns prompts that were answered rightly twice: some of each suite, then some of all."""
    _require(
        [(suite.name, row.id) for suite, row in asked] == [(a.suite, a.row) for a in answers],
        "golden",
        "are not the rows that were answered rightly",
    )
    of_suite: dict[str, list[Golden]] = {}
    for (suite, right), answer in zip(asked, answers, strict=True):
        golden = _as_golden(suite, right)
        holds = (
            score_answers(suite, [right], [answer.answer]).values == [1]
            if golden.calls
            else found(answer.answer, golden.expect)
        )
        if holds:
            of_suite.setdefault(suite.name, []).append(golden)
    chosen = [golden for each in of_suite.values() for golden in each[:GOLDEN_PROMPTS]]
    return chosen[:GOLDEN_PROMPTS] or [ANY_ANSWER]


def _as_golden(suite: Suite, asked: SuiteRow) -> Golden:
    prompt = [Message.model_validate(message) for message in asked.row.prompt]
    if suite.metric != "tools":
        return Golden(messages=prompt, expect=_expected(suite, asked), max_tokens=suite.max_tokens)
    return Golden(
        messages=prompt,
        max_tokens=suite.max_tokens,
        tools=[tool.to_dict() for tool in asked.row.tools],
        calls=[GoldenCall(name=call.name, arguments=call.arguments) for call in own_calls(asked.row)],
    )


def _require(holds: bool, where: str, what: str) -> None:
    if not holds:
        raise IntegrityError(what, where=f"{EVALUATION}: {where}", fix="train again: `llmops train RECIPE --again`")
