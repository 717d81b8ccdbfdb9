"""rehearse: a model's full lifecycle on a twin of the cloud."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmops_kit.cli.context import Context
from llmops_kit.cli.former_commands import refuse
from llmops_kit.clouds.targets import cloud_names
from llmops_kit.core.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.cli.rehearsal.cloud import Cloud
    from llmops_kit.cli.rehearsal.rehearsal import RehearsalOptions
    from llmops_kit.cli.rehearsal.report.report import Report


def _refuse_live(value: object) -> None:
    if value:
        refuse("rehearse --live")


Steps = Annotated[list[str] | None, typer.Option(help="Run this step and those it needs. Repeatable.", metavar="STEP")]
Recipe = Annotated[
    Path | None,
    typer.Option(help="Recipe of this project to train. Default: recipes/rehearsal.yaml.", metavar="RECIPE"),
]
Shortened = Annotated[
    int | None,
    typer.Option(
        help="Shorten training to this many optimizer steps: rehearses the workflow, not the quality.",
        min=2,
        metavar="N",
    ),
]
Faults = Annotated[list[str] | None, typer.Option(help="Inject this fault. Repeatable.", metavar="NAME")]
Removed = Annotated[
    list[str] | None,
    typer.Option(help="Remove an action from a role, as in deploy:s3:PutObject. Repeatable.", metavar="ROLE:ACTION"),
]
Keep = Annotated[bool, typer.Option("--keep", help="Keep the twin running, with all its resources, for inspection.")]
ReportFolder = Annotated[Path, typer.Option(help="Folder of the report.", metavar="FOLDER")]
Live = Annotated[bool, typer.Option("--live", "--yes", "-y", hidden=True, is_eager=True, callback=_refuse_live)]
Limit = Annotated[str, typer.Option("--max-usd", "--ttl", hidden=True, is_eager=True, callback=_refuse_live)]


def register(app: typer.Typer) -> None:
    app.command(no_args_is_help=True)(rehearse)


def rehearse(
    context: typer.Context,
    cloud: Annotated[
        str,
        typer.Argument(help=f"Cloud of the twin: {' or '.join(cloud_names())}.", metavar="CLOUD"),
    ],
    recipe: Recipe = None,
    steps: Shortened = None,
    only: Steps = None,
    fault: Faults = None,
    without: Removed = None,
    keep: Keep = False,
    report: ReportFolder = Path("rehearsal-report"),
    _live: Live = False,
    _limit: Limit = "",
) -> None:
    """Run a model's full lifecycle against a twin of the cloud, before you pay for anything.

    Covers bootstrap, deployment, updates, faults, rejected requests and removal.

    Uses a temporary twin, Pulumi state and copy of the project, under the roles that `llmops
    bootstrap` creates. Requests that would leave this machine are blocked.

    Writes report.html, junit.xml (for CI) and report.json. Exit code 1: a step failed.

    llmops rehearse aws
    llmops rehearse azure
    llmops rehearse aws --recipe recipes/mine/recipe.yaml
    llmops rehearse aws --recipe recipes/mine/recipe.yaml --steps 20
    llmops rehearse aws --only plan
    llmops rehearse aws --fault throttle
    """
    import sys

    from llmops_kit.cli.rehearsal.clouds import find_cloud
    from llmops_kit.cli.rehearsal.rehearsal import RehearsalOptions

    current: Context = context.obj
    folder = (current.cwd / report).absolute()
    found = find_cloud(cloud)
    removed = [parse_taken(each) for each in without or ()]
    options = RehearsalOptions(
        tuple(only or ()),
        tuple(fault or ()),
        removed,
        keep,
        folder,
        recipe and current.cwd / recipe,
        steps or 0,
    )
    done = _run(current, found, options)
    _say(done, folder)
    if not done.passed:
        sys.exit(1)


def _run(current: Context, cloud: "Cloud", options: "RehearsalOptions") -> "Report":
    from rich.console import Console

    from llmops_kit.cli.pulumi_engine.warm import kept_warm
    from llmops_kit.cli.rehearsal.rehearsal import rehearse as run

    with kept_warm():
        return run(cloud, current.project, options, Console(stderr=True, highlight=False))


def parse_taken(text: str) -> tuple[str, str]:
    """Parse ROLE:ACTION, with the cloud's own spelling of the action.

    Such as s3:PutObject or Microsoft.Storage/storageAccounts/write.
    """
    role, _, action = text.partition(":")
    if not role or not (":" in action or "/" in action):
        fix = "write ROLE:ACTION, such as deploy:s3:PutObject or deploy:Microsoft.KeyVault/vaults/write"
        raise KitError(f"{text!r} is not ROLE:ACTION", where="--without", fix=fix)
    return role, action


def _say(done: "Report", folder: Path) -> None:
    from llmops_kit.cli.context import say

    if failed := done.failed:
        error = failed.error or KitError("stopped")
        say(f"\nfailed: {failed.step.title}\n  {error.what}")
        if error.where:
            say(f"  where: {error.where}")
        if error.fix:
            say(f"  fix: {error.fix}")
    if done.kept:
        say(f'\nkept: {done.kept}\n  eval "$(llmops twin {done.target} env --home {done.kept}/twin)"   to inspect it')
        say(f"  llmops twin {done.target} down --home {done.kept}/twin && rm -rf {done.kept}   to remove it")
    for result in done.results:
        if result.evidence.skipped:
            print(f"skipped: {result.step.title}: {result.evidence.skipped}")
    skipped = f", {done.skipped} skipped," if done.skipped else ""
    print(f"{done.count} steps passed{skipped} in {done.seconds:.0f} s; the report is in {folder}")
