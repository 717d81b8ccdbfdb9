"""Two models on the same rows: paired scores by suite, and the result of a recipe's gate."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmops_kit.cli.data.dataset_versions import DatasetFolder
from llmops_kit.cli.evaluation.answers import GivenAnswers, Questions
from llmops_kit.cli.evaluation.models import AskedModel, StoredModel
from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.cli.judging.comet import pin_scorers
from llmops_kit.cli.judging.judging import JudgedAnswers
from llmops_kit.cli.runs.judged import read_judgements
from llmops_kit.cli.runs.receipts import checked_dataset
from llmops_kit.cli.runs.report import SuiteReport, answered_rows
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.judgements import JudgeVerdict
from llmops_kit.core.documents.model import GateResult, Score, SuiteResult
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_evaluation import Evaluation, GateCheck
from llmops_kit.core.errors import NotFoundError
from llmops_kit.core.layout import MANIFEST
from llmops_kit.training.evaluation.judging import Verdicts
from llmops_kit.training.evaluation.scoring import decide, load_suites, not_worse, suite_result


@dataclass(frozen=True)
class ModelComparison:
    """A model compared with another. In `suites`, `before` is the other's and `after` the model's; `gain` is paired."""

    model: str
    against: str
    dataset: DatasetManifest
    dataset_sha256: str
    suites: list[SuiteReport]
    mine: dict[str, str]
    """Suite -> origin of the model's answers."""
    theirs: dict[str, str]
    gate: GateResult | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Returns a table row for each suite."""
        return [self._row(each.result) for each in self.suites]

    def fields(self) -> dict[str, Any]:
        """Returns the comparison as JSON, with every answer."""
        return {
            "model": self.model,
            "against": self.against,
            "dataset": {"name": self.dataset.name, "sha256": self.dataset_sha256},
            "suites": [
                {
                    **each.result.model_dump(mode="json", exclude={"before", "after", "gain"}),
                    "score": each.result.after.model_dump(),
                    "against": each.result.before.model_dump(),
                    "difference": each.result.gain.model_dump() if each.result.gain else None,
                    "answers": {"model": self.mine[each.suite.name], "against": self.theirs[each.suite.name]},
                    "rows": [asdict(row) | {"judged": [said._asdict() for said in row.judged]} for row in each.rows],
                }
                for each in self.suites
            ],
            "gate": self.gate.model_dump() if self.gate else None,
        }

    def _row(self, result: SuiteResult) -> dict[str, Any]:
        gain = result.gain
        assert gain
        return {
            "suite": result.suite,
            "metric": result.metric,
            self.against: _shown(result.before),
            self.model: _shown(result.after),
            "difference": _shown(gain),
            "rows": gain.rows,
            "groups": gain.groups,
        }


def questions_for(
    platform: Platform,
    models: Sequence[AskedModel],
    recipe: Recipe | None,
    dataset: DatasetFolder | None,
    wanted: Sequence[str] = (),
) -> Questions:
    """Returns the questions for both models.

    Args:
        platform: the stack in operation.
        models: the first of them that was trained provides suites, dataset and precision by default.
        recipe: provides the suites.
        dataset: provides the rows.
        wanted: suites; empty: all.

    Raises:
        NotFoundError: there is no such suite, or nothing determines what to ask.
        IntegrityError: the dataset was changed.
    """
    trained = [m.manifest for m in models if isinstance(m, StoredModel) and m.manifest.evaluated]
    evaluation = _evaluation(recipe, [manifest.evaluated for manifest in trained])
    if recipe:
        evaluation = pin_scorers(platform, evaluation)
    suites = [suite for suite in evaluation.suites if not wanted or suite.name in wanted]
    if unknown := sorted(set(wanted) - {suite.name for suite in evaluation.suites}):
        known = ", ".join(suite.name for suite in evaluation.suites)
        raise NotFoundError(f"there is no suite {unknown[0]}", where="--suite", fix=f"there are: {known}")
    if dataset is None:
        pinned = trained[0].lineage.dataset if trained else None
        if pinned is None:
            raise NotFoundError(
                "neither model was trained on a dataset of this stack",
                where="--dataset",
                fix="--recipe RECIPE asks its rows, --dataset FOLDER those of a dataset version",
            )
        dataset = DatasetFolder.open(checked_dataset(platform.store(), pinned))
    system = recipe.serving.system_prompt if recipe else trained[0].serving.system_prompt if trained else ""
    facts = trained[0].training if trained else None
    return Questions(
        dataset.folder,
        dataset.sha256,
        suites,
        evaluation.gate,
        load_suites(suites, dataset.folder),
        system,
        recipe.training.precision if recipe else facts.precision if facts else "auto",
    )


def compare_models(
    models: tuple[AskedModel, AskedModel],
    questions: Questions,
    answers: Callable[[AskedModel], GivenAnswers],
    verdicts: Callable[[JudgedAnswers], Verdicts],
) -> ModelComparison:
    """Scores and pairs the answers of a model and of another one.

    Args:
        models: the model, and the other one.
        questions: the questions for both.
        answers: returns a model's answers to every suite.
        verdicts: returns the verdicts of a suite's judge or COMET model on both models' answers.
    """
    model, other = models
    theirs, mine = answers(other), answers(model)
    suites = []
    for suite in questions.suites:
        rows, before, after = questions.rows[suite.name], theirs.texts[suite.name], mine.texts[suite.name]
        given = verdicts(JudgedAnswers(suite, rows, before, after)) if suite.judged else {}
        check = next((each for each in questions.gate if each.suite == suite.name), None)
        result = suite_result(suite, rows, before, after, given)
        suites.append(SuiteReport(suite, result, check, answered_rows(suite, rows, before, after, given)))
    return ModelComparison(
        model.name,
        other.name,
        DatasetManifest.load(questions.dataset / MANIFEST),
        questions.dataset_sha256,
        suites,
        mine.source,
        theirs.source,
    )


def recorded_verdicts(platform: Platform, models: Sequence[AskedModel]) -> Verdicts:
    """Returns the judges' verdicts that were stored with versions when their runs were collected."""
    found: dict[str, JudgeVerdict] = {}
    for model in models:
        if isinstance(model, StoredModel):
            found |= read_judgements(platform.store().version(model.ref), model.manifest, model.name)
    return found


def hold_against_gate(comparison: ModelComparison, gate: Sequence[GateCheck], other_is_base: bool) -> GateResult:
    """Returns the result of a recipe's gate for the model.

    `not_worse_than` is compared with the other model, whichever it is; `gain_low`, and `low` of a judge of pairs, only
    with the base model.

    Args:
        comparison: covers at least the gate's suites.
        gate: the recipe's gate.
        other_is_base: whether the model was trained from the other one.

    Raises:
        NotFoundError: a suite of the gate was left out.
    """
    asked = {each.result.suite: each.result for each in comparison.suites}
    pairs = {each.suite.name for each in comparison.suites if each.suite.judge and each.suite.judge.mode == "pairwise"}
    checks: list[GateCheck] = []
    passed, more = True, list[str]()
    for check in gate:
        if check.suite not in asked:
            raise NotFoundError(
                f"the gate checks suite {check.suite}", where="--suite", fix="leave out --suite, or --gate"
            )
        for key in ("gain_low", *(("low",) if check.suite in pairs else ())):
            if getattr(check, key) is not None and not other_is_base:
                more.append(f"{check.suite}: {comparison.against} is not its base model, so `{key}` was not checked")
                check = check.model_copy(update={key: None})
        if check.not_worse_than and (difference := asked[check.suite].gain):
            holds, words = not_worse(check, difference)
            passed &= holds
            more.append(words)
        checks.append(check.model_copy(update={"not_worse_than": None}))
    verdict = decide(checks, list(asked.values()))
    return GateResult(passed=passed and verdict.passed, reasons=[*verdict.reasons, *more])


def _evaluation(recipe: Recipe | None, recorded: Sequence[Evaluation | None]) -> Evaluation:
    if recipe:
        return recipe.evaluation
    if recorded and recorded[0]:
        return recorded[0]
    raise NotFoundError(
        "neither version records the suites of its evaluation: both are imported, or of an older kit",
        where="--recipe",
        fix="--recipe RECIPE names suites and data",
    )


def _shown(score: Score) -> str:
    return f"{score.value:.2f} ({score.low:.2f} to {score.high:.2f})"


def recipe_dataset(platform: Platform, path: Path, recipe: Recipe, say: Say) -> DatasetFolder:
    """Returns a recipe's data, prepared and stored as by `llmops train`.

    Raises:
        KitError: a source or row can't be used.
    """
    from llmops_kit.cli.runs.runs import put_dataset

    return DatasetFolder.open(checked_dataset(platform.store(), put_dataset(platform, recipe, path, say).pinned))
