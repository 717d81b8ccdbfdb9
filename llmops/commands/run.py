"""train, runs: train recipes, and manage their runs."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contract.errors import KitError
from llmops.commands import Json
from llmops.context import Context, say
from llmops.terminal.tables import print_done, print_fields, print_json, print_rows

if TYPE_CHECKING:
    from contract.documents.run import Compute, RunSpec, RunState
    from contract.names import ModelRef
    from llmops.plan.training import RunCost
    from llmops.platforms.platform import Platform, Run

_PANEL = "Runs and models"
_RunId = Annotated[str, typer.Argument(help="The run's id, its beginning, or `latest`.", metavar="RUN")]
runs = typer.Typer(no_args_is_help=True, help="List, follow, stop and collect runs.")


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=_PANEL)(train)
    app.add_typer(runs, name="runs", rich_help_panel=_PANEL)


def train(
    context: typer.Context,
    recipe: Annotated[Path | None, typer.Argument(help="File of the recipe.", metavar="RECIPE")] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Start the run and return.")] = False,
    resume: Annotated[str, typer.Option(help="Resume this run from its last checkpoint.", metavar="RUN")] = "",
    again: Annotated[bool, typer.Option("--again", help="Train even if a run with the same inputs exists.")] = False,
    instance_type: Annotated[
        str, typer.Option(help="Instance type of this run. Default: that of `jobs` in the stack file (cloud).")
    ] = "",
    instances: Annotated[int | None, typer.Option(help="Number of instances of this run (cloud).", min=1)] = None,
    spot: Annotated[bool | None, typer.Option(help="Use spot capacity for this run (cloud).")] = None,
    collected: Annotated[
        Path | None,
        typer.Option(help="Train on this folder of `llmops data collect` as it is; ask no source.", metavar="FOLDER"),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say what machines it fits on, how long and for how much; start nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a recipe: prepare data, train, evaluate, sign and store a model version.

    Repeating it is safe: a run of the same recipe, data, base model and
    image is followed while it runs, resumed if it was interrupted, and
    reused when it is complete. Ctrl-C stops watching; the run goes on.

    With --check it says what the recipe takes on each type of machine:
    memory, rows at a time, time and cost. Exit code 1 then means that
    the stack's own machine can't train it.

    On a cloud it says first what the run is likely to cost, and at most, and
    refuses machines that the account's quotas don't allow. The exit code is 3
    if the trained version did not pass the recipe's gate.

    llmops train recipes/chatbot.yaml
    llmops train recipes/chatbot.yaml --detach
    llmops runs follow latest
    llmops train --resume chatbot-20260131
    llmops train recipes/chatbot.yaml --check
    llmops train recipes/chatbot.yaml --instance-type ml.g5.xlarge --spot
    """
    from llmops.runs.runs import find_run

    here: Context = context.obj
    if (recipe is None) == (not resume):
        raise typer.BadParameter("give a recipe, or --resume RUN", param_hint="RECIPE")
    asked = {"instance_type": instance_type or None, "instances": instances, "spot": spot}
    machines = {name: value for name, value in asked.items() if value is not None}
    if check:
        if recipe is None or detach or again or collected:
            words = "goes with a recipe, and not with --detach, --again or --collected"
            raise typer.BadParameter(words, param_hint="--check")
        from llmops.commands.train_check import check_recipe

        check_recipe(here, here.cwd / recipe, machines, as_json)
        return
    if recipe is None and collected:
        raise typer.BadParameter("goes with a recipe: a run that is resumed has its data", param_hint="--collected")
    if recipe is not None:
        folder = here.cwd / collected if collected else None
        run_id, cost = _start(here.platform, here.cwd / recipe, machines, again, folder)
    else:
        run = find_run(here.platform, resume)
        run_id, cost = run.spec.id, _go_on(here.platform, run, "asked for", machines)
    if detach:
        _print_started(run_id, cost, as_json)
    else:
        _finish(here.platform, run_id, cost, as_json)


def _finish(platform: "Platform", run_id: str, cost: "RunCost | None", as_json: bool) -> None:
    """Watch a run that has not ended, and collect it."""
    from llmops.runs.runs import find_run

    if find_run(platform, run_id).state.status != "completed":
        _watch(platform, run_id)
    _collect(platform, run_id, as_json, {"cost": _cost_fields(cost)})


def _print_started(run_id: str, cost: "RunCost | None", as_json: bool) -> None:
    """Prints the commands for a run that is not watched."""
    if as_json:
        print_json({"run": run_id, "cost": _cost_fields(cost)})
    else:
        print(f"{run_id}\n  llmops runs follow {run_id}\n  llmops runs stop {run_id}\n  llmops runs collect {run_id}")


def _start(
    platform: "Platform", path: Path, machines: dict[str, Any], again: bool, collected: Path | None
) -> "tuple[str, RunCost | None]":
    """Start or resume a run of the recipe; returns it with its estimated cost."""
    from llmops.plan.training import look_ahead
    from llmops.runs.runs import other_machines, parse_recipe, plan_run
    from llmops.tracking.mlflow_client import require_mlflow

    require_mlflow(say)
    compute = other_machines(platform, platform.require_runs(), machines)
    recipe = parse_recipe(path)  # its mistakes come before anything that takes time
    cost = look_ahead(platform, compute, recipe.name, say, jobs=2 if recipe.has_two_jobs else 1)
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
    """Resume a run; returns the estimated cost, `known` for some machines."""
    from llmops.plan.training import look_ahead
    from llmops.runs.runs import is_between, other_machines

    run_id, status = run.spec.id, run.state.status
    if status == "completed":
        say(f"run {run_id} is complete ({why}); --again trains anew")
        return None
    if status == "running":
        say(f"run {run_id} is going on ({why})")
        return None
    usual = (asked if run.doubt and asked else run.spec).compute or platform.require_runs()
    compute = other_machines(platform, usual, machines)
    jobs = 2 if run.spec.trainer and run.state.job != "evaluation" else 1
    cost = known[1] if compute == known[0] else look_ahead(platform, compute, run.spec.recipe.name, say, jobs=jobs)
    goes_on = "has trained, and is evaluated now" if is_between(run) else "resumes from its last checkpoint"
    say(f"run {run_id} {goes_on} ({why}; it was {status})")
    platform.resume(run_id, say, compute, asked)
    return cost


def _watch(platform: "Platform", run_id: str) -> None:
    from rich.console import Console

    from llmops.terminal.progress import show

    try:
        show(platform.follow(run_id), Console(stderr=True))
    except KeyboardInterrupt:
        say(f"\nrun {run_id} goes on without you:\n  llmops runs follow {run_id}\n  llmops runs stop {run_id}")
        raise


def _cost_fields(cost: "RunCost | None") -> dict[str, Any] | None:
    """Returns the estimate for --json; None: nothing that costs money was started."""
    return cost.fields() if cost else None


def _collect(platform: "Platform", run_id: str, as_json: bool, more: dict[str, Any] | None = None) -> None:
    from llmops.runs.runs import collect, find_run

    run = find_run(platform, run_id)
    ref = collect(platform, run, say)
    from llmops.commands.models import print_version
    from llmops.tracking.mlflow_sync import track

    track(platform, say)
    gate = platform.store().manifest(ref).gate
    passed = gate is not None and gate.passed and _is_not_worse(platform, ref)
    print_version(platform, ref, as_json, more)
    gated = bool(run.spec.recipe.evaluation.gate)
    if not as_json:
        say(_next(ref, passed, gated))
    if gated and not passed:
        raise typer.Exit(3)


def _is_not_worse(platform: "Platform", ref: "ModelRef") -> bool:
    """Returns False if the gate requires a comparison and the version is worse than production; says what `promote`
    will find.
    """
    from llmops.evaluation.production import compare_with_production

    try:
        verdict = compare_with_production(platform, ref, platform.store().manifest(ref))
    except KitError as e:  # the run has ended well; promotion decides
        say(f"not compared with production: {e}")
        return True
    for reason in verdict.reasons:
        say(reason)
    if verdict.fix:
        say(f"before it is promoted: {verdict.fix}")
    return verdict.passed or bool(verdict.fix)


def _next(ref: "ModelRef", passed: bool, gated: bool) -> str:
    if passed:
        return f"next: llmops promote {ref.alias} && llmops up"
    if gated:
        return "the gate was not passed: change data or recipe, and train again"
    return (
        f"the recipe has no gate; to serve it all the same: "
        f'llmops promote {ref.alias} --force --reason "why" && llmops up'
    )


@runs.command("list")
def list_runs(context: typer.Context, as_json: Json = False) -> None:
    """List the runs, newest first."""
    here: Context = context.obj
    store = here.platform.store()
    rows = []
    for run in here.platform.find():
        found = store.of_run(run.spec.recipe.name, run.spec.id) if run.state.status == "completed" else None
        rows.append(
            {
                "run": run.spec.id,
                "status": run.state.status,
                "created": run.spec.created,
                "ended": run.state.ended,
                "model": found.alias if found else "",
                "dataset": run.spec.dataset.sha256[:12],
                "failure": run.state.failure,
                "usd": run.state.usd,
            }
        )
    columns = ["run", "status", "created", "ended", "model"]
    print_rows(rows, columns, as_json, "no runs yet: `llmops train recipes/chatbot.yaml` starts one")


@runs.command("show")
def show_run(context: typer.Context, run: _RunId, as_json: Json = False) -> None:
    """Show a run's inputs, state and results."""
    from llmops.runs.runs import find_run

    here: Context = context.obj
    found = find_run(here.platform, run)
    spec, state = found.spec, found.state
    ref = here.platform.store().of_run(spec.recipe.name, spec.id)
    fields = {
        "run": spec.id,
        "status": state.status,
        "failure": state.failure,
        "created": spec.created,
        "started": state.started,
        "ended": state.ended,
        "model": ref.alias if ref else "",
        "dataset": f"{spec.dataset.name} sha256:{spec.dataset.sha256}",
        "base_model": f"{spec.base_model.name} sha256:{spec.base_model.sha256}",
        "image": spec.image,
        "trainer": f"{spec.trainer.image}: {shlex.join(spec.trainer.command)}" if spec.trainer else "",
        "job": state.job,
        "kit_version": spec.kit_version,
        "process": state.pid if state.pid and state.status == "running" else "",
        "machines": _machines(spec.compute) if spec.compute else "",
        "cost": _cost(state),
        "in doubt": found.doubt,
    }
    print_fields(fields, as_json)


def _machines(compute: "Compute") -> str:
    return f"{compute.instances} x {compute.instance_type}{', spot' if compute.spot else ''}"


def _cost(state: "RunState") -> str:
    if state.usd is None:
        return ""
    return f"${state.usd:.4f}" + (f", spot saved {state.spot_saving:.0%}" if state.spot_saving is not None else "")


@runs.command("follow")
def follow(context: typer.Context, run: _RunId, as_json: Json = False) -> None:
    """Watch a run until it ends, then collect it. Ctrl-C stops watching; the run goes on.

    The exit code is 3 if the version did not pass the recipe's gate.
    """
    from llmops.runs.runs import find_run

    here: Context = context.obj
    run_id = find_run(here.platform, run).spec.id
    _watch(here.platform, run_id)
    _collect(here.platform, run_id, as_json)


@runs.command("page")
def page(
    context: typer.Context,
    run: _RunId,
    out: Annotated[Path | None, typer.Option("--out", help="The file; else RUN.html.", metavar="FILE")] = None,
    as_json: Json = False,
) -> None:
    """Write a run's page: scores with intervals, training curves, data and answers, the wrong ones first.

    One HTML file that loads nothing from elsewhere. It holds the evaluation's
    prompts and answers: whoever may read it may read those.

    llmops runs page latest
    """
    from llmops.runs.page import html
    from llmops.runs.report import run_report
    from llmops.runs.runs import find_run

    here: Context = context.obj
    found = find_run(here.platform, run)
    target = out or Path(f"{found.spec.id}.html")
    target = target if target.is_absolute() else here.cwd / target
    content = html(run_report(here.platform, found))
    try:
        target.write_text(content)
    except OSError as e:
        raise KitError(f"can't be written: {e.strerror}", where=str(target), fix="--out FILE") from e
    print_done(str(target), {"run": found.spec.id, "page": str(target)}, as_json)


@runs.command("compare")
def compare(
    context: typer.Context,
    first: Annotated[str, typer.Argument(help="A run: its id, its beginning, or `latest`.", metavar="A")],
    second: Annotated[str, typer.Argument(help="Another one.", metavar="B")],
    as_json: Json = False,
) -> None:
    """Compare two runs on the rows that both were asked: each suite's scores, and B's gain over A.

    The gain is paired, row by row, with a 95 % interval over groups: one that
    holds 0 tells no difference.

    llmops runs compare chatbot-20260131 latest
    """
    from llmops.runs.comparison import compare_runs
    from llmops.runs.runs import find_run

    here: Context = context.obj
    runs_ = [find_run(here.platform, name) for name in (first, second)]
    rows = [each.fields() for each in compare_runs(here.platform, *runs_)]
    columns = ["suite", "metric", "a", "b", "gain", "low", "high", "rows", "groups"]
    print_rows(rows, columns, as_json, "the two runs share no suite with the same rows")


@runs.command("stop")
def stop(context: typer.Context, run: _RunId, as_json: Json = False) -> None:
    """Stop a run gracefully; `llmops train --resume` resumes it from its last checkpoint."""
    from llmops.runs.runs import find_run

    here: Context = context.obj
    run_id = find_run(here.platform, run).spec.id
    here.platform.stop(run_id)
    words = f"run {run_id} is stopped; `llmops train --resume {run_id}` goes on with it"
    print_done(words, {"run": run_id, "stopped": True}, as_json)


@runs.command("collect")
def collect_runs(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="Run to collect. Default: every completed run.", metavar="[RUN]")] = "",
    as_json: Json = False,
) -> None:
    """Number, sign and store the results of completed runs, watched or not. Safe to repeat.

    Of runs with a trainer of its own that has ended, it starts the second job.

    In a cloud, weights are copied there and checked where they lie then:
    on AWS by the SHA-256 that S3 keeps, on Azure by reading them once.
    Where MLFLOW_TRACKING_URI is set, MLflow gets what it lacks of the store.
    """
    from llmops.runs.runs import collect, find_run, is_between, uncollected
    from llmops.tracking.mlflow_sync import track

    here: Context = context.obj
    chosen = [find_run(here.platform, run)] if run else uncollected(here.platform)
    rows, failed = [], []
    for item in chosen:
        try:
            if not run and is_between(item):
                say(f"run {item.spec.id} has trained: its second job starts, which evaluates")
                here.platform.resume(item.spec.id, say)
                continue
            ref = collect(here.platform, item, say)
        except KitError as e:
            if run:
                raise
            failed.append(f"{item.spec.id}: {e}")
            continue
        rows.append({"run": item.spec.id, "model": ref.alias, "sha256": ref.sha256})
    for ref in [] if run else here.platform.unregistered():
        here.platform.register(ref, say)
        say(f"{ref.alias} is in the registry now")
    track(here.platform, say)
    print_rows(rows, ["run", "model", "sha256"], as_json, "nothing to collect")
    if failed:
        raise KitError("some runs can't be collected:\n" + "\n".join(failed), fix="see `llmops runs show RUN`")
