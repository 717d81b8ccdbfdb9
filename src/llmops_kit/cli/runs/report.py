"""RunReport: the content of a run's page, read from verified sources: the store and the spec."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmops_kit.cli.interfaces.platform import Platform, Run
from llmops_kit.cli.runs.judged import read_judgements
from llmops_kit.cli.runs.receipts import checked_dataset, read_answers, read_metrics
from llmops_kit.cli.runs.runs import collected_version
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.evaluation import Answer
from llmops_kit.core.documents.model import ModelManifest, SuiteResult
from llmops_kit.core.documents.recipe_evaluation import GateCheck, Suite, unit_of
from llmops_kit.core.documents.training_metrics import StepMetrics
from llmops_kit.core.layout import MANIFEST
from llmops_kit.core.names import ModelRef
from llmops_kit.training.evaluation.judging import JudgeReply, Verdicts, replies_to
from llmops_kit.training.evaluation.scorers import SuiteRow, reference_of
from llmops_kit.training.evaluation.scoring import load_suite, score_both

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class AnsweredRow:
    """A row of a suite with both models' answers and their scores, from 0 to 1; of `perplexity`, nats per token."""

    id: str
    group: str
    prompt: str
    reference: str
    before: str
    after: str
    score_before: float
    score_after: float
    weight: int
    """Weight of its scores in the mean: 1; for `perplexity`, the number of tokens."""
    judged: list[JudgeReply]
    """The verdict of a suite's judge or COMET model, in words."""


@dataclass(frozen=True)
class SuiteReport:
    """A suite's result, the gate's conditions on it, and its rows, the trained model's worst answers first."""

    suite: Suite
    result: SuiteResult
    check: GateCheck | None
    rows: list[AnsweredRow]


@dataclass(frozen=True)
class RunReport:
    """A completed and collected run."""

    run: Run
    ref: ModelRef
    manifest: ModelManifest
    dataset: DatasetManifest
    suites: list[SuiteReport]
    curves: dict[str, Points]
    """Name of a value of StepMetrics, such as `loss` -> (step, value)."""


def run_report(platform: Platform, run: Run) -> RunReport:
    """Reads the report of a run whose version is in the store.

    Raises:
        RunError: it is not complete, or was not collected.
        IntegrityError: the version or the dataset was changed.
    """
    spec, store = run.spec, platform.store()
    ref = collected_version(platform, run)
    manifest = store.signed_manifest(ref, platform.outputs.signing.public_key)
    folder = checked_dataset(store, spec.dataset)
    answers = read_answers(store.version(ref), manifest, f"{ref.alias}: {MANIFEST}")
    verdicts = read_judgements(store.version(ref), manifest, ref.alias)
    suites = []
    for suite, result, given in zip(spec.recipe.evaluation.suites, manifest.evaluation, answers.suites, strict=True):
        before, after = ([getattr(row, when) for row in given.rows] for when in ("before", "after"))
        rows = answered_rows(suite, load_suite(suite, folder), before, after, verdicts)
        check = next((c for c in spec.recipe.evaluation.gate if c.suite == suite.name), None)
        suites.append(SuiteReport(suite, result, check, rows))
    dataset = DatasetManifest.load(folder / MANIFEST)
    return RunReport(run, ref, manifest, dataset, suites, curves_of(read_metrics(store.version(ref), manifest)))


def answered_rows(
    suite: Suite, rows: Sequence[SuiteRow], before: Sequence[Answer], after: Sequence[Answer], verdicts: Verdicts
) -> list[AnsweredRow]:
    """Returns a suite's rows with two models' answers, the second's worst first; `verdicts` are its judge's."""
    was, now = score_both(suite, rows, before, after, verdicts)
    found = [
        AnsweredRow(
            id=asked.id,
            group=asked.group,
            prompt=asked.row.prompt[-1]["content"] if asked.row.prompt else "",
            reference=reference_of(asked.row),
            before=_in_words(before[index]),
            after=_in_words(after[index]),
            score_before=was.values[index],
            score_after=now.values[index],
            weight=now.weights[index],
            judged=replies_to(suite, asked, before[index], after[index], verdicts) if suite.judged else [],
        )
        for index, asked in enumerate(rows)
    ]
    return sorted(found, key=lambda row: -row.score_after if unit_of(suite.metric) else row.score_after)


def _in_words(answer: Answer) -> str:
    return answer if isinstance(answer, str) else f"{answer.nats:.1f} nats over {answer.tokens} tokens"


def curves_of(steps: Iterable[StepMetrics]) -> dict[str, Points]:
    """Returns each measured value by its step."""
    found: dict[str, Points] = {}
    for step in steps:
        for name, value in step.values().items():
            found.setdefault(name, []).append((step.step, value))
    return found
