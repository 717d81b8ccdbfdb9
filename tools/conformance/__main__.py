"""`python -m tools.conformance`: compare the results of every target."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from llmops_kit.cli.commands import Json, print_error
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.pulumi_engine.warm import kept_warm
from llmops_kit.cli.terminal.tables import print_json, print_rows
from llmops_kit.clouds.targets import TARGETS
from llmops_kit.core.errors import KitError
from tools.conformance.conform import Conformance, conform
from tools.conformance.versions import stored_version

_RECIPE = "recipes/rehearsal.yaml"


def conformance(
    recipe: Annotated[
        Path | None, typer.Argument(help=f"Recipe to train. Without --model: {_RECIPE}.", metavar="RECIPE")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Serve this version of the stack's store, name@3 or name@latest. Repeatable.", metavar="NAME@N"
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Train this many optimizer steps at most; 0: all.", min=0)] = 0,
    target: Annotated[
        list[str] | None, typer.Option(help="Run this one only. Repeatable; default: all.", metavar="TARGET")
    ] = None,
    stack: Annotated[str, typer.Option("--stack", "-s", help="Stack of --model.", metavar="NAME")] = "",
    as_json: Json = False,
) -> None:
    """Train and serve on this machine and on the twins of all clouds, and compare the results.

    A recipe is trained everywhere, with one thread and without its gate: every loss and the
    weights must be equal. Its base model and data are fetched before; --steps shortens it.
    With --model nothing is trained, unless a recipe is named too. Then every version is
    served everywhere in f32, and asked 30 questions, tools and JSON schemas among them (no
    tools where its chat template has none), and rows of the suites that it was evaluated by,
    through each contract (OpenAI, SageMaker, Azure ML; whole and as streams): every token
    and every call must be equal.
    Exit code 1 where something differs. It takes some minutes, and leaves nothing behind.

    make conformance
    make conformance OPTIONS="recipes/assistant.yaml --steps 6"
    make conformance OPTIONS="--model assistant@latest --model translation@2"
    make conformance OPTIONS="--target local --target azure"
    """
    here = Context(stack=stack)
    trained = recipe or (None if model else Path(_RECIPE))
    if steps and trained is None:
        raise typer.BadParameter("has no effect without a recipe", param_hint="--steps")
    stored = [stored_version(here.platform, each, say) for each in model or ()]
    with kept_warm():
        path = here.cwd / trained if trained else None
        made = conform(here.project, say, target or list(TARGETS), recipe=path, steps=steps, stored=stored)
    if as_json:
        print_json(_fields(made))
    else:
        _print(made)
    if not made.conforms:
        sys.exit(1)


def _fields(made: Conformance) -> dict[str, Any]:
    return {**asdict(made), "conforms": made.conforms}


def _print(made: Conformance) -> None:
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
    if trainings:
        print_rows(trainings, ["target", "steps", "loss", "losses", "weights"], False)
    answers = [
        {
            "target": a.target,
            "contract": a.contract,
            "model": a.model,
            "equal_answers": f"{a.equal} of {len(a.texts)}",
            "first": a.texts[0],
        }
        for a in made.answers
    ]
    named = ", ".join(f"{name} sha256:{sha256[:12]}" for name, sha256 in made.versions.items())
    print(f"{named} in f32, greedily:")
    print_rows(answers, ["target", "contract", "model", "equal_answers", "first"], False)
    word = "everything is equal" if made.conforms else "NOT everything is equal"
    print(f"{word}; {made.seconds:.0f} s")


if __name__ == "__main__":
    try:
        typer.run(conformance)
    except KitError as e:
        print_error(e, as_json="--json" in sys.argv[1:])
        sys.exit(e.exit_code)
