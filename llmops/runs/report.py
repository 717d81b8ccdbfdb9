"""RunReport: everything that a run's page shows, read from what was checked: the store, the spec and the run's log."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from contract.documents.dataset import DatasetManifest
from contract.documents.model import ModelManifest, SuiteResult
from contract.documents.recipe_evaluation import GateCheck, Suite
from contract.errors import RunError
from contract.layout import MANIFEST
from contract.names import ModelRef
from llmops.platforms.platform import Platform, Run
from llmops.runs.receipts import checked_dataset, read_answers
from llmops.runs.runs import not_complete
from llmops.terminal.progress import parse
from training.metrics import score_answer
from training.scoring import SuiteRow, load_suite

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class AnsweredRow:
    """A row of a suite with both models' answers and their scores, from 0 to 1."""

    id: str
    group: str
    prompt: str
    reference: str
    before: str
    after: str
    score_before: float
    score_after: float


@dataclass(frozen=True)
class SuiteReport:
    """A suite's result, what the gate asks of it, and its rows: those that the trained model got wrong first."""

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
    """Name of a value in the log, such as `loss` -> (step, value)."""


def run_report(platform: Platform, run: Run) -> RunReport:
    """Read what there is of a run whose version is in the store.

    Raises:
        RunError: it is not complete, or was not collected.
        IntegrityError: the version or the dataset was changed.
    """
    spec, store = run.spec, platform.store()
    if run.state.status != "completed":
        raise not_complete(run)
    ref = store.of_run(spec.recipe.name, spec.id)
    if ref is None:
        fix = f"`llmops runs collect {spec.id}` stores its model first"
        raise RunError("was not collected", where=f"run {spec.id}", fix=fix)
    manifest = store.signed_manifest(ref, platform.outputs.signing.public_key)
    folder = checked_dataset(store, spec.dataset)
    answers = read_answers(store.version(ref), manifest, f"{ref.alias}: {MANIFEST}")
    suites = []
    for suite, result, given in zip(spec.recipe.evaluation.suites, manifest.evaluation, answers.suites, strict=True):
        before, after = ([getattr(row, when) for row in given.rows] for when in ("before", "after"))
        rows = answered_rows(suite, load_suite(suite, folder), before, after)
        check = next((c for c in spec.recipe.evaluation.gate if c.suite == suite.name), None)
        suites.append(SuiteReport(suite, result, check, rows))
    dataset = DatasetManifest.load(folder / MANIFEST)
    return RunReport(run, ref, manifest, dataset, suites, read_curves(platform.follow(spec.id)))


def answered_rows(
    suite: Suite, rows: Sequence[SuiteRow], before: Sequence[str], after: Sequence[str]
) -> list[AnsweredRow]:
    """A suite's rows with two models' answers, the second one's worst first."""
    found = [
        AnsweredRow(
            asked.id,
            asked.group,
            asked.row.prompt[-1]["content"],
            asked.row.answer,
            was,
            now,
            score_answer(suite.metric, asked.row, was),
            score_answer(suite.metric, asked.row, now),
        )
        for asked, was, now in zip(rows, before, after, strict=True)
    ]
    return sorted(found, key=lambda row: row.score_after)


def read_curves(lines: Iterable[str]) -> dict[str, Points]:
    """The values of a run's progress lines by step; of steps that were done again, the last ones.

    Args:
        lines: the run's log. Lines that are no progress are skipped.
    """
    found: dict[str, dict[float, float]] = {}
    for line in lines:
        values = dict(_numbers(parse(line)))
        step = values.pop("step", None)
        if step is not None:
            for name, value in values.items():
                if name not in ("total", "eta_s"):
                    found.setdefault(name, {})[step] = value
    return {name: sorted(points.items()) for name, points in found.items()}


def _numbers(values: dict[str, str]) -> Iterator[tuple[str, float]]:
    for name, text in values.items():
        with suppress(ValueError):
            if math.isfinite(value := float(text)):
                yield name, value
