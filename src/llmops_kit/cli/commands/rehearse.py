"""rehearse: a model's full lifecycle on a twin of the cloud."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmops_kit.cli.context import Context
from llmops_kit.clouds.targets import cloud_names
from llmops_kit.contract.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.cli.rehearsal.clouds.cloud import Cloud
    from llmops_kit.cli.rehearsal.rehearsal import RehearsalOptions, SpendingLimits
    from llmops_kit.cli.rehearsal.report.report import Report

_LIVE = "On a real account"
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
Live = Annotated[
    bool,
    typer.Option("--live", help="Use your own account, which costs money; asks first.", rich_help_panel=_LIVE),
]
MaxUsd = Annotated[
    float, typer.Option(help="Stop before the estimated cost exceeds this.", min=0, rich_help_panel=_LIVE)
]
Ttl = Annotated[
    str, typer.Option(help="Stop after this time, such as 2h or 90m; leftovers expire then.", rich_help_panel=_LIVE)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation.", rich_help_panel=_LIVE)]


def register(app: typer.Typer) -> None:
    app.command(no_args_is_help=True, rich_help_panel="Clouds")(rehearse)


def rehearse(
    context: typer.Context,
    cloud: Annotated[
        str,
        typer.Argument(
            help=f"Cloud of the twin, or with --live of the account: {' or '.join(cloud_names())}.", metavar="CLOUD"
        ),
    ],
    recipe: Recipe = None,
    steps: Shortened = None,
    only: Steps = None,
    fault: Faults = None,
    without: Removed = None,
    keep: Keep = False,
    report: ReportFolder = Path("rehearsal-report"),
    live: Live = False,
    max_usd: MaxUsd = 0.0,
    ttl: Ttl = "",
    yes: Yes = False,
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
    llmops rehearse aws --live --max-usd 5 --ttl 2h
    """
    import sys

    from llmops_kit.cli.rehearsal.clouds import find_cloud
    from llmops_kit.cli.rehearsal.rehearsal import RehearsalOptions

    current: Context = context.obj
    folder = (current.cwd / report).absolute()
    found = find_cloud(cloud)
    limits = _limits(found, live, max_usd, ttl, yes)
    removed = [parse_taken(each) for each in without or ()]
    options = RehearsalOptions(
        tuple(only or ()),
        tuple(fault or ()),
        removed,
        keep,
        folder,
        limits,
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


def _limits(cloud: "Cloud", live: bool, max_usd: float, ttl: str, yes: bool) -> "SpendingLimits | None":
    """Returns the limits of a rehearsal on the caller's account, once the user confirmed it; None: on a twin."""
    from llmops_kit.cli.rehearsal.account import parse_span
    from llmops_kit.cli.rehearsal.rehearsal import SpendingLimits

    if not live:
        if max_usd or ttl or yes:
            raise typer.BadParameter("works with --live only", param_hint="--max-usd, --ttl, --yes")
        return None
    if not max_usd or not ttl:
        raise KitError("a rehearsal on an account needs limits", where="--live", fix="add --max-usd 5 --ttl 2h")
    limits = SpendingLimits(max_usd, parse_span(ttl))
    caller = cloud.caller()
    where = f"the twin at {caller.twin}" if caller.twin else caller.account
    question = f"Rehearse in {where}, {caller.region}, as {caller.name}, for at most ${max_usd:g} and {ttl}?"
    if not yes:
        typer.confirm(question, abort=True)
    return limits


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
    for line in done.swept:
        print(line)
    if done.differences is not None:
        print("cloud and twin behaved the same" if not done.differences else "differences between cloud and twin:")
        print("\n".join(f"  {line}" for line in done.differences))
    elif done.live:
        print(f"nothing to compare with: run `llmops rehearse {done.target}` first")
    for result in done.results:
        if result.evidence.skipped:
            print(f"skipped: {result.step.title}: {result.evidence.skipped}")
    skipped = f", {done.skipped} skipped," if done.skipped else ""
    print(f"{done.count} steps passed{skipped} in {done.seconds:.0f} s; the report is in {folder}")
