"""runs: list, follow, stop and collect runs."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmops_kit.cli.commands import Json, Verbs
from llmops_kit.cli.commands.train import collect_run, watch_run
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.tables import print_done, print_fields, print_rows
from llmops_kit.core.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.core.documents.run import Compute, RunState

_RunId = Annotated[str, typer.Argument(help="The run's id, its beginning, or `latest`.", metavar="RUN")]
runs = Verbs(no_args_is_help=True, help="List, follow, stop and collect runs.")


def register(app: typer.Typer) -> None:
    app.add_typer(runs, name="runs")


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
    from llmops_kit.cli.runs.runs import find_run

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
    """Watch a run until it ends, then collect it. Ctrl-C stops watching, not the run.

    The exit code is 3 if the version did not pass the recipe's gate.
    """
    from llmops_kit.cli.runs.runs import find_run

    here: Context = context.obj
    run_id = find_run(here.platform, run).spec.id
    watch_run(here.platform, run_id)
    collect_run(here.platform, run_id, as_json)


@runs.command("page")
def page(
    context: typer.Context,
    run: _RunId,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write to. Default: RUN.html.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a run's HTML page: scores with intervals, training curves, data and answers, wrong ones first.

    The page is one file that loads nothing else. It contains the evaluation's prompts and
    answers: share it only with people who may read them.

    llmops runs page latest
    """
    from llmops_kit.cli.runs.report import run_report
    from llmops_kit.cli.runs.run_page import html
    from llmops_kit.cli.runs.runs import find_run

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


@runs.command("stop")
def stop(context: typer.Context, run: _RunId, as_json: Json = False) -> None:
    """Stop a run gracefully; `llmops train --resume` resumes it from its last checkpoint."""
    from llmops_kit.cli.runs.runs import find_run

    here: Context = context.obj
    run_id = find_run(here.platform, run).spec.id
    here.platform.stop(run_id)
    words = f"run {run_id} is stopped; `llmops train --resume {run_id}` resumes it"
    print_done(words, {"run": run_id, "stopped": True}, as_json)


@runs.command("collect")
def collect_runs(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="Run to collect. Default: every completed run.", metavar="RUN")] = "",
    reviewed: Annotated[
        str, typer.Option(help="Collect RUN only if this is its version, as reviewed.", metavar="NAME@sha256:…")
    ] = "",
    as_json: Json = False,
) -> None:
    """Number, sign and store the results of completed runs, watched or not. Safe to repeat.

    For a run with its own trainer, it starts the evaluation job once training has ended.

    In a cloud, the cloud copies the weights. The copies are verified: on AWS by the SHA-256 that
    S3 stores, on Azure by reading them once. If MLFLOW_TRACKING_URI is set, missing versions
    are also logged to MLflow.

    llmops runs collect
    llmops runs collect RUN --reviewed chatbot@sha256:9f86d081…
    """
    from llmops_kit.cli.runs.runs import collect, find_run, is_between, uncollected
    from llmops_kit.cli.tracking.mlflow_sync import track
    from llmops_kit.core.names import parse_identity

    identity = parse_identity(reviewed)
    if reviewed and not (run and identity):
        raise typer.BadParameter(
            "needs RUN, and NAME@sha256:… as `llmops models review RUN` prints it", param_hint="--reviewed"
        )
    here: Context = context.obj
    chosen = [find_run(here.platform, run)] if run else uncollected(here.platform)
    rows, failed = [], []
    for item in chosen:
        try:
            if not run and is_between(item):
                say(f"run {item.spec.id} has trained: starting its evaluation job")
                here.platform.resume(item.spec.id, say)
                continue
            ref = collect(here.platform, item, say, reviewed=identity[1] if identity else "")
        except KitError as e:
            if run:
                raise
            failed.append(f"{item.spec.id}: {e}")
            continue
        rows.append({"run": item.spec.id, "model": ref.alias, "sha256": ref.sha256})
    for ref in [] if run else here.platform.unregistered():
        here.platform.register(ref, say)
        say(f"registered {ref.alias}")
    track(here.platform, say)
    print_rows(rows, ["run", "model", "sha256"], as_json, "nothing to collect")
    if failed:
        raise KitError("some runs can't be collected:\n" + "\n".join(failed), fix="see `llmops runs show RUN`")
