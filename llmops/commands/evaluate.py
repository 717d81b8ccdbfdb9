"""evaluate: compare a model version with another one, with production, a folder or an endpoint."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contract.errors import KitError
from llmops.commands import Json
from llmops.context import Context, say
from llmops.terminal.tables import print_json, print_rows

if TYPE_CHECKING:
    from llmops.evaluation.answers import Questions
    from llmops.evaluation.comparison import ModelComparison
    from llmops.evaluation.models import AskedModel

_KEY = "OPENAI_API_KEY"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Runs and models")(evaluate)


def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="name@3, name@latest, or a Hugging Face folder.", metavar="MODEL")],
    against: Annotated[
        str, typer.Option(help="The same, or `production`, or https://HOST/v1#MODEL.", metavar="MODEL")
    ] = "production",
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe with suites and data. Default: those of the version.", metavar="RECIPE")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Folder of a dataset version to take rows from.", metavar="FOLDER")
    ] = None,
    suite: Annotated[list[str] | None, typer.Option(help="Only this suite; may be repeated.", metavar="NAME")] = None,
    gate: Annotated[bool, typer.Option("--gate", help="Exit with code 3 if the recipe's gate does not pass.")] = False,
    page: Annotated[Path | None, typer.Option(help="Write an HTML page with all answers.", metavar="FILE")] = None,
    as_json: Json = False,
) -> None:
    """Compare two models on the same rows: each suite's scores, and the paired difference, with 95 % intervals.

    Both answer greedily on this machine, whatever the stack's target.
    Answers that a run recorded, or that this machine gave before, are
    used again: an interrupted evaluation resumes. An endpoint is asked
    with the rows' messages, and with the key in $OPENAI_API_KEY.

    llmops evaluate chatbot@3 --against chatbot@2
    llmops evaluate chatbot@latest --against production --page compared.html
    llmops evaluate ../other-model --against chatbot@3
    llmops evaluate chatbot@3 --against https://models.example.com/v1#big
    """
    from llmops.evaluation.comparison import compare_models
    from llmops.evaluation.models import RemoteModel, find_model

    here: Context = context.obj
    mine = find_model(here.platform, model, here.cwd)
    if isinstance(mine, RemoteModel):
        raise KitError("is an endpoint", where=model, fix=f"llmops evaluate MODEL --against {model}")
    other = find_model(here.platform, against, here.cwd, beside=model.partition("@")[0] if "@" in model else "")
    if mine.name == other.name:
        raise KitError(f"{mine.name} can't be compared with itself", where="--against", fix="name another model")
    questions = _questions(here, (mine, other), recipe, dataset, suite or [])
    comparison = compare_models((mine, other), questions, lambda each: _answers(here, each, questions))
    if gate:
        comparison = _held(comparison, questions, mine, other)
    if page:
        _write_page(comparison, here.cwd / page)
    _print(comparison, page, as_json)
    if comparison.gate and not comparison.gate.passed:
        raise typer.Exit(3)


def _questions(
    here: Context, models: "tuple[AskedModel, AskedModel]", path: Path | None, folder: Path | None, suites: list[str]
) -> "Questions":
    from llmops.data.versions import DatasetFolder
    from llmops.evaluation.comparison import questions_for, recipe_dataset
    from llmops.runs.runs import parse_recipe

    recipe = parse_recipe(here.cwd / path) if path else None
    dataset = DatasetFolder.open(here.cwd / folder) if folder else None
    if recipe and path and dataset is None:
        dataset = recipe_dataset(here.platform, here.cwd / path, recipe, say)
    return questions_for(here.platform, models, recipe, dataset, suites)


def _answers(here: Context, model: "AskedModel", questions: "Questions") -> Any:
    from llmops.evaluation.answers import answers_of

    return answers_of(here.platform.store(), model, questions, os.environ.get(_KEY, ""), say)


def _held(
    comparison: "ModelComparison", questions: "Questions", mine: "AskedModel", other: "AskedModel"
) -> "ModelComparison":
    """The comparison with the gate's verdict."""
    from dataclasses import replace

    from llmops.evaluation.comparison import hold_against_gate
    from llmops.evaluation.models import StoredModel

    base = mine.manifest.lineage.base_model if isinstance(mine, StoredModel) else None
    is_base = base is not None and isinstance(other, StoredModel) and other.sha256 == base.sha256
    return replace(comparison, gate=hold_against_gate(comparison, questions.gate, is_base))


def _write_page(comparison: "ModelComparison", path: Path) -> None:
    from llmops.evaluation.page import html

    try:
        path.write_text(html(comparison))
    except OSError as e:
        raise KitError(f"can't be written: {e.strerror}", where=str(path), fix="--page FILE") from e


def _print(comparison: "ModelComparison", page: Path | None, as_json: bool) -> None:
    if as_json:
        print_json(comparison.fields() | {"page": str(page) if page else ""})
        return
    rows = comparison.rows()
    print_rows(rows, list(rows[0]), as_json=False)
    if comparison.gate:
        for reason in comparison.gate.reasons:
            print(reason)
        print(f"gate: {'passed' if comparison.gate.passed else 'not passed'}")
