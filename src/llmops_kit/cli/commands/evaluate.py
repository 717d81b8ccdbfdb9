"""evaluate: compare a model version with another version, production, a folder or an endpoint."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmops_kit.cli.commands import Json
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.tables import print_json, print_rows
from llmops_kit.core.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.cli.evaluation.answers import Questions
    from llmops_kit.cli.evaluation.comparison import ModelComparison
    from llmops_kit.cli.evaluation.lm_eval import TaskScore
    from llmops_kit.cli.evaluation.models import AskedModel, FolderModel, StoredModel

_KEY = "OPENAI_API_KEY"


def register(app: typer.Typer) -> None:
    app.command()(evaluate)


def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="name@3, name@latest, or a Hugging Face folder.", metavar="MODEL")],
    against: Annotated[
        str, typer.Option(help="As MODEL, or `production` (default), or https://HOST/v1#MODEL.", metavar="MODEL")
    ] = "",
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe with suites and data. Default: the version's.", metavar="RECIPE")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Folder of the dataset version whose rows are asked.", metavar="FOLDER")
    ] = None,
    suite: Annotated[list[str] | None, typer.Option(help="Run only this suite. Repeatable.", metavar="NAME")] = None,
    gate: Annotated[bool, typer.Option("--gate", help="Exit with code 3 if the recipe's gate fails.")] = False,
    lm_eval: Annotated[
        str, typer.Option(help="Tasks of lm-evaluation-harness, instead of or beside --against.", metavar="TASK,…")
    ] = "",
    include_path: Annotated[
        Path | None, typer.Option(help="Folder with further tasks for --lm-eval.", metavar="FOLDER")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Write an HTML page with scores and answers.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two models on the same rows: scores of each suite, and their paired difference.

    Scores and differences have 95 % intervals. If an interval of a difference contains 0, no
    difference was shown. Both models answer greedily on this machine, whatever the stack's target.
    Answers from a run or an earlier evaluation are reused, so an interrupted evaluation resumes.

    An endpoint gets the rows' messages, with the key in $OPENAI_API_KEY. The judge of a suite
    with metric `judge` is called with the key that the recipe names.

    llmops evaluate chatbot@3 --against chatbot@2
    llmops evaluate chatbot@latest --against production --page compared.html
    llmops evaluate ../other-model --against chatbot@3
    llmops evaluate chatbot@3 --against https://models.example.com/v1#big
    llmops evaluate chatbot@3 --lm-eval ifeval
    """
    here: Context = context.obj
    if lm_eval and not against and (recipe or dataset or suite or gate):
        raise typer.BadParameter("has no suites: add --against", param_hint="--lm-eval")
    if include_path and not lm_eval:
        raise typer.BadParameter("has no effect without --lm-eval", param_hint="--include-path")
    mine, other = _models(here, model, against, bool(lm_eval))
    comparison = None
    if other:
        comparison = _compare(here, mine, other, _asked(here, (mine, other), recipe, dataset, suite or []), gate)
    tasks = _run_tasks(here, mine, lm_eval, include_path) if lm_eval else []
    if page:
        _write_page(mine.name, comparison, tasks, here.cwd / page)
    _print(mine.name, comparison, tasks, page, as_json)
    if comparison and comparison.gate and not comparison.gate.passed:
        raise typer.Exit(3)


def _models(
    here: Context, model: str, against: str, has_tasks: bool
) -> "tuple[StoredModel | FolderModel, AskedModel | None]":
    """Returns the model and the one to compare it with: None if only tasks are run."""
    from llmops_kit.cli.evaluation.models import PRODUCTION, RemoteModel, find_model

    mine = find_model(here.platform, model, here.cwd)
    if isinstance(mine, RemoteModel):
        raise KitError("is an endpoint", where=model, fix=f"llmops evaluate MODEL --against {model}")
    if has_tasks and not against:
        return mine, None
    other = find_model(here.platform, against or PRODUCTION, here.cwd, beside=mine.family)
    if mine.name == other.name:
        raise KitError(f"{mine.name} can't be compared with itself", where="--against", fix="name another model")
    return mine, other


def _asked(
    here: Context, models: "tuple[AskedModel, AskedModel]", path: Path | None, folder: Path | None, suites: list[str]
) -> "Questions":
    from llmops_kit.cli.data.dataset_versions import DatasetFolder
    from llmops_kit.cli.evaluation.comparison import questions_for, recipe_dataset
    from llmops_kit.cli.runs.runs import parse_recipe

    recipe = parse_recipe(here.cwd / path) if path else None
    dataset = DatasetFolder.open(here.cwd / folder) if folder else None
    if recipe and path and dataset is None:
        dataset = recipe_dataset(here.platform, here.cwd / path, recipe, say)
    return questions_for(here.platform, models, recipe, dataset, suites)


def _compare(
    here: Context, mine: "AskedModel", other: "AskedModel", questions: "Questions", gate: bool
) -> "ModelComparison":
    from llmops_kit.cli.evaluation.answers import answers_of
    from llmops_kit.cli.evaluation.comparison import compare_models, hold_against_gate, recorded_verdicts
    from llmops_kit.cli.evaluation.models import StoredModel
    from llmops_kit.cli.judging.verdicts import find_verdicts

    key, recorded = os.environ.get(_KEY, ""), recorded_verdicts(here.platform, (mine, other))
    comparison = compare_models(
        (mine, other),
        questions,
        lambda each: answers_of(here.platform.store(), each, questions, key, say),
        lambda judged: find_verdicts(here.platform, judged, recorded, say),
    )
    if not gate:
        return comparison
    base = mine.manifest.lineage.base_model if isinstance(mine, StoredModel) else None
    is_base = base is not None and isinstance(other, StoredModel) and other.sha256 == base.sha256
    return replace(comparison, gate=hold_against_gate(comparison, questions.gate, is_base))


def _run_tasks(here: Context, model: "AskedModel", tasks: str, include: Path | None) -> "list[TaskScore]":
    from llmops_kit.cli.evaluation.lm_eval import run_tasks
    from llmops_kit.cli.evaluation.models import StoredModel

    if not isinstance(model, StoredModel):
        raise KitError(
            "is not a version in the store, so it can't be served",
            where=model.name,
            fix=f"`llmops models import NAME --source folder:{model.name}` imports it",
        )
    folder = here.cwd / include if include else None
    names = [task for task in tasks.split(",") if task]
    return run_tasks(model, here.platform.outputs.signing.public_key, names, folder, say)


def _write_page(model: str, comparison: "ModelComparison | None", tasks: "list[TaskScore]", path: Path) -> None:
    from llmops_kit.cli.evaluation.comparison_page import html

    try:
        path.write_text(html(model, comparison, tasks))
    except OSError as e:
        raise KitError(f"can't be written: {e.strerror}", where=str(path), fix="--page FILE") from e


def _print(
    model: str, comparison: "ModelComparison | None", tasks: "list[TaskScore]", page: Path | None, as_json: bool
) -> None:
    rows = [asdict(task) for task in tasks]
    if as_json:
        fields = comparison.fields() if comparison else {"model": model}
        print_json({**fields, "lm_eval": rows, "page": str(page) if page else ""})
        return
    if comparison:
        table = comparison.rows()
        print_rows(table, list(table[0]), as_json=False)
    if tasks:
        print_rows(rows, ["task", "metric", "value", "stderr", "rows"], as_json=False)
    if comparison and comparison.gate:
        for reason in comparison.gate.reasons:
            print(reason)
        print(f"gate: {'passed' if comparison.gate.passed else 'not passed'}")
