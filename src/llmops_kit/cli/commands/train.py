"""train: run a recipe, from its data to a signed version; collect a run that has ended."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops_kit.cli.commands import Json
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.tables import print_json
from llmops_kit.core.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.cli.interfaces.platform import Platform, Run
    from llmops_kit.cli.plan.run_cost import RunCost
    from llmops_kit.core.documents.model import TrainingFacts
    from llmops_kit.core.documents.run import Compute, RunSpec
    from llmops_kit.core.names import ModelRef

RecipeFile = Annotated[Path | None, typer.Argument(help="File of the recipe.", metavar="RECIPE")]
InstanceType = Annotated[
    str, typer.Option(help="Instance type of this run. Default: that of `jobs` in the stack file (cloud).")
]
Collected = Annotated[
    Path | None,
    typer.Option(
        help="Train on this folder from `llmops data collect`, without fetching any source.", metavar="FOLDER"
    ),
]
Check = Annotated[
    bool, typer.Option("--check", help="Show machines that can train it, with time and cost. Starts nothing.")
]


def register(app: typer.Typer) -> None:
    app.command()(train)


def train(
    context: typer.Context,
    recipe: RecipeFile = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Start the run and return.")] = False,
    resume: Annotated[str, typer.Option(help="Resume this run from its last checkpoint.", metavar="RUN")] = "",
    again: Annotated[bool, typer.Option("--again", help="Train even if a run with the same inputs exists.")] = False,
    instance_type: InstanceType = "",
    instances: Annotated[int | None, typer.Option(help="Number of instances of this run (cloud).", min=1)] = None,
    spot: Annotated[bool | None, typer.Option(help="Use spot capacity for this run (cloud).")] = None,
    collected: Collected = None,
    check: Check = False,
    as_json: Json = False,
) -> None:
    """Run a recipe: prepare data, train, evaluate, sign and store a model version.

    Safe to repeat: a run with the same recipe, data, base model and image is followed while it
    runs, resumed if it was interrupted, and reused once complete. Ctrl-C stops watching, not
    the run. Exit code 3: the version did not pass the recipe's gate.

    On a cloud it first prints the likely and the maximum cost, and fails if the account's
    quotas don't allow the machines.

    --check prints memory, batch size, time and cost for each type of machine. Exit code 1: the
    stack's machine can't train the recipe.

    llmops train recipes/chatbot.yaml
    llmops train recipes/chatbot.yaml --detach
    llmops runs follow latest
    llmops train --resume chatbot-20260131
    llmops train recipes/chatbot.yaml --check
    llmops train recipes/chatbot.yaml --instance-type ml.g5.xlarge --spot
    """
    from llmops_kit.cli.runs.runs import find_run

    here: Context = context.obj
    if (recipe is None) == (not resume):
        raise typer.BadParameter("give a recipe, or --resume RUN", param_hint="RECIPE")
    machines = _named(instance_type=instance_type or None, instances=instances, spot=spot)
    if check:
        from llmops_kit.cli.commands.train_check import check_recipe

        if recipe is None or detach or again or collected:
            words = "needs a recipe, and excludes --detach, --again and --collected"
            raise typer.BadParameter(words, param_hint="--check")

        check_recipe(here, here.cwd / recipe, machines, as_json)
        return
    if recipe is None and collected:
        raise typer.BadParameter("needs a recipe: a resumed run has its data", param_hint="--collected")
    if recipe is not None:
        run_id, cost = _start(here.platform, here.cwd / recipe, machines, again, collected and here.cwd / collected)
    else:
        run = find_run(here.platform, resume)
        run_id, cost = run.spec.id, _go_on(here.platform, run, "asked for", machines)
    if detach:
        _print_started(run_id, cost, as_json)
    else:
        _finish(here.platform, run_id, cost, as_json)


def _named(**asked: Any) -> dict[str, Any]:
    """Returns the options that were given."""
    return {name: value for name, value in asked.items() if value is not None}


def _finish(platform: "Platform", run_id: str, cost: "RunCost | None", as_json: bool) -> None:
    """Watches a run unless it is complete, then collects it."""
    from llmops_kit.cli.runs.runs import find_run

    if find_run(platform, run_id).state.status != "completed":
        watch_run(platform, run_id)
    collect_run(platform, run_id, as_json, {"cost": _cost_fields(cost)})


def _print_started(run_id: str, cost: "RunCost | None", as_json: bool) -> None:
    """Prints the commands for a run that is not watched."""
    if as_json:
        print_json({"run": run_id, "cost": _cost_fields(cost)})
    else:
        print(f"{run_id}\n  llmops runs follow {run_id}\n  llmops runs stop {run_id}\n  llmops runs collect {run_id}")


def _start(
    platform: "Platform", path: Path, machines: dict[str, Any], again: bool, collected: Path | None
) -> "tuple[str, RunCost | None]":
    """Starts or resumes a run of the recipe; returns its id and its estimated cost."""
    from llmops_kit.cli.images.due import has_stale_training
    from llmops_kit.cli.plan.run_cost import look_ahead
    from llmops_kit.cli.runs.runs import other_machines, parse_recipe, plan_run
    from llmops_kit.cli.tracking.mlflow_client import require_mlflow

    require_mlflow(say)
    compute = other_machines(platform, platform.require_runs(), machines)
    recipe = parse_recipe(path)  # before prices and quotas are looked up, so that mistakes in it are found at once
    cost = look_ahead(platform, compute, recipe.name, say, jobs=2 if recipe.has_two_jobs else 1)
    if has_stale_training(platform.outputs):
        say("warning: the stack's training image is of other files than this kit's: `llmops up` builds and deploys it")
    plan = plan_run(platform, path, say, machines, collected)
    if plan.same and not again:
        why = "same recipe, data, base model and image"
        return plan.same.spec.id, _go_on(platform, plan.same, why, machines, plan.spec, (compute, cost))
    platform.submit(plan.spec, say)
    say(f"run {plan.spec.id} started")
    return plan.spec.id, cost


def _go_on(
    platform: "Platform",
    run: "Run",
    why: str,
    machines: dict[str, Any],
    asked: "RunSpec | None" = None,
    known: "tuple[Compute | None, RunCost | None]" = (None, None),
) -> "RunCost | None":
    """Resumes a run unless it is running or complete; returns the estimated cost, None if nothing that costs money
    was started.

    `known`: machines whose cost was already estimated, with that cost.
    """
    from llmops_kit.cli.plan.run_cost import look_ahead
    from llmops_kit.cli.runs.runs import is_between, other_machines

    run_id, status = run.spec.id, run.state.status
    if status == "completed":
        say(f"run {run_id} is complete ({why}); --again trains again")
        return None
    if status == "running":
        say(f"run {run_id} is still running ({why})")
        return None
    usual = (asked if run.doubt and asked else run.spec).compute or platform.require_runs()
    compute = other_machines(platform, usual, machines)
    jobs = 2 if run.spec.trainer and run.state.job != "evaluation" else 1
    cost = known[1] if compute == known[0] else look_ahead(platform, compute, run.spec.recipe.name, say, jobs=jobs)
    goes_on = "has trained and is evaluated now" if is_between(run) else "resumes from its last checkpoint"
    say(f"run {run_id} {goes_on} ({why}; it was {status})")
    platform.resume(run_id, say, compute, asked)
    return cost


def watch_run(platform: "Platform", run_id: str) -> None:
    """Shows a run's progress on standard error until it ends. Ctrl-C stops watching, not the run."""
    from rich.console import Console

    from llmops_kit.cli.terminal.progress import show

    try:
        show(platform.follow(run_id), Console(stderr=True))
    except KeyboardInterrupt:
        say(f"\nrun {run_id} continues:\n  llmops runs follow {run_id}\n  llmops runs stop {run_id}")
        raise


def _cost_fields(cost: "RunCost | None") -> dict[str, Any] | None:
    """Returns the estimate for --json; None if nothing that costs money was started."""
    return cost.fields() if cost else None


def collect_run(platform: "Platform", run_id: str, as_json: bool, more: dict[str, Any] | None = None) -> None:
    """Signs and stores the result of a completed run, and prints the version, with `more` in its JSON.

    Raises:
        KitError: the run can't be collected.
        typer.Exit: code 3, if the version did not pass the recipe's gate.
    """
    from llmops_kit.cli.runs.runs import collect, find_run

    run = find_run(platform, run_id)
    ref = collect(platform, run, say)
    from llmops_kit.cli.commands.models import print_version
    from llmops_kit.cli.tracking.mlflow_sync import track

    track(platform, say)
    manifest = platform.store().manifest(ref)
    gate = manifest.gate
    passed = gate is not None and gate.passed and is_not_worse(platform, ref)
    print_version(platform, ref, as_json, more)
    gated = bool(run.spec.recipe.evaluation.gate)
    if not as_json:
        say(_next(ref, run_id, passed, gated, manifest.training))
    if gated and not passed:
        raise typer.Exit(3)


def is_not_worse(platform: "Platform", ref: "ModelRef") -> bool:
    """Returns False if the gate requires a comparison that shows the version worse than production; True if the
    comparison is still to be made.

    Prints the reasons that `promote` would give.
    """
    from llmops_kit.cli.evaluation.production import compare_with_production

    try:
        verdict = compare_with_production(platform, ref, platform.store().manifest(ref))
    except KitError as e:  # the run itself succeeded; promotion decides
        say(f"not compared with production: {e}")
        return True
    for reason in verdict.reasons:
        say(reason)
    if verdict.fix:
        say(f"before it is promoted: {verdict.fix}")
    return verdict.passed or bool(verdict.fix)


def _next(ref: "ModelRef", run_id: str, passed: bool, gated: bool, training: "TrainingFacts | None") -> str:
    if passed:
        return f"next: llmops promote {ref.alias} && llmops up"
    if gated:
        return (
            f"the gate was not passed: `llmops runs page {run_id}` shows the answers, wrong ones first, and the loss "
            f"curve; change data or recipe, and train again{_length(training)}"
        )
    return (
        f"the recipe has no gate; to serve the version anyway: "
        f'llmops promote {ref.alias} --force --reason "why" && llmops up'
    )


def _length(training: "TrainingFacts | None") -> str:
    """Returns the length of a training and its loss, for a user whose version did not pass."""
    if training is None:
        return ""
    loss = f"the loss went from {training.first_loss:.3g} to {training.last_loss:.3g}"
    more = "; if it was still falling, raise `training.epochs`" if training.last_loss < training.first_loss else ""
    return f".\nIt took {training.steps} steps, in which {loss}{more}"
