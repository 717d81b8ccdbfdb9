"""conformance: compare the results of every target."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clouds.targets import TARGETS
from llmops.commands import Json
from llmops.context import Context, say
from llmops.terminal.tables import print_json, print_rows

if TYPE_CHECKING:
    from llmops.conformance.conform import Conformance


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Clouds")(conformance)


def conformance(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="Recipe to train.", metavar="RECIPE")] = Path("recipes/rehearsal.yaml"),
    target: Annotated[
        list[str] | None, typer.Option(help="Run this one only. Repeatable; default: all.", metavar="TARGET")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train and serve on this machine and on the twins of all clouds, and compare the results.

    The recipe is trained everywhere, with one thread: every loss and the weights must be
    equal. Then one version is served everywhere in f32, and asked 30 questions, tools and
    JSON schemas among them, and some of the recipe's suites, through each contract (OpenAI,
    SageMaker, Azure ML; whole and as streams): every token must be equal.
    Exit code 1 where something differs. It takes some minutes, and leaves nothing behind.

    llmops conformance
    llmops conformance --target local --target azure
    """
    from llmops.conformance.conform import conform
    from llmops.pulumi_engine.warm import kept_warm

    here: Context = context.obj
    with kept_warm():
        made = conform(here.project, here.cwd / recipe, say, target or list(TARGETS))
    if as_json:
        print_json(_fields(made))
    else:
        _print(made)
    if not made.conforms:
        sys.exit(1)


def _fields(made: "Conformance") -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(made), "conforms": made.conforms}


def _print(made: "Conformance") -> None:
    trainings = [
        {
            "target": t.target,
            "steps": t.steps,
            "loss": f"{t.first_loss:.4f} -> {t.last_loss:.4f}",
            "losses": f"sha256:{t.curve[:12]}",
            "weights": f"sha256:{t.weights[:12]}",
        }
        for t in made.trainings
    ]
    print_rows(trainings, ["target", "steps", "loss", "losses", "weights"], False)
    answers = [
        {
            "target": a.target,
            "contract": a.contract,
            "equal_answers": f"{a.equal} of {len(a.texts)}",
            "first": a.texts[0],
        }
        for a in made.answers
    ]
    print(f"version sha256:{made.version[:12]} in f32, greedily:")
    print_rows(answers, ["target", "contract", "equal_answers", "first"], False)
    word = "everything is equal" if made.conforms else "NOT everything is equal"
    print(f"{word}; {made.seconds:.0f} s")
