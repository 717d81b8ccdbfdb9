"""rehearse: the whole life of a model on a twin of the cloud."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clouds.targets import cloud_names
from contract.errors import KitError
from llmops.context import Context

if TYPE_CHECKING:
    from llmops.rehearsal.clouds.cloud import Cloud
    from llmops.rehearsal.rehearsal import SpendingLimits
    from llmops.rehearsal.report.report import Report

_LIVE = "On a real account"


def register(app: typer.Typer) -> None:
    app.command(no_args_is_help=True, rich_help_panel="Clouds")(rehearse)


def rehearse(
    context: typer.Context,
    cloud: Annotated[
        str,
        typer.Argument(
            help=f"Whose twin, or with --live which account: {' or '.join(cloud_names())}.", metavar="CLOUD"
        ),
    ],
    only: Annotated[
        list[str] | None, typer.Option(help="This step, and those that it needs. Repeatable.", metavar="STEP")
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="Let this go wrong on the way. Repeatable.", metavar="NAME")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Take an action away from a role: deploy:s3:PutObject. Repeatable.", metavar="ROLE:ACTION"),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the twin running and everything there, to look.")] = False,
    report: Annotated[Path, typer.Option(help="Where the report goes.", metavar="FOLDER")] = Path("rehearsal-report"),
    live: Annotated[
        bool, typer.Option("--live", help="On your own account, which costs money; asks first.", rich_help_panel=_LIVE)
    ] = False,
    max_usd: Annotated[
        float, typer.Option(help="Stop before the estimate passes this.", min=0, rich_help_panel=_LIVE)
    ] = 0.0,
    ttl: Annotated[
        str, typer.Option(help="Stop after this: 2h, 90m. What is left expires then.", rich_help_panel=_LIVE)
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.", rich_help_panel=_LIVE)] = False,
) -> None:
    """Go through a model's whole life on a twin of the cloud, before anything is paid for.

    From bootstrap to the last trace, with updates, faults and refusals.

    It has a twin, a state and a copy of this project of its own, under roles that
    `llmops bootstrap` makes; whatever tries to leave this machine is refused.
    The report: report.html, junit.xml for a CI, report.json. Exit code 1 when a step failed.

    llmops rehearse aws
    llmops rehearse azure
    llmops rehearse aws --only plan
    llmops rehearse aws --fault throttle
    llmops rehearse aws --live --max-usd 5 --ttl 2h
    """
    import sys

    from rich.console import Console

    from llmops.pulumi_engine.warm import kept_warm
    from llmops.rehearsal.clouds import find_cloud
    from llmops.rehearsal.rehearsal import RehearsalOptions
    from llmops.rehearsal.rehearsal import rehearse as run

    here: Context = context.obj
    folder = (here.cwd / report).absolute()
    on = find_cloud(cloud)
    limits = _limits(on, live, max_usd, ttl, yes)
    options = RehearsalOptions(
        tuple(only or ()), tuple(fault or ()), [parse_taken(each) for each in without or ()], keep, folder, limits
    )
    with kept_warm():
        done = run(on, here.project, options, Console(stderr=True, highlight=False))
    _say(done, folder)
    if not done.passed:
        sys.exit(1)


def _limits(cloud: "Cloud", live: bool, max_usd: float, ttl: str, yes: bool) -> "SpendingLimits | None":
    """Of a rehearsal on the caller's account, once that was confirmed."""
    from llmops.rehearsal.account import parse_span
    from llmops.rehearsal.rehearsal import SpendingLimits

    if not live:
        if max_usd or ttl or yes:
            raise typer.BadParameter("goes with --live", param_hint="--max-usd, --ttl, --yes")
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
    """ROLE:ACTION, with an action as a cloud writes it: s3:PutObject, Microsoft.Storage/storageAccounts/write."""
    role, _, action = text.partition(":")
    if not role or not (":" in action or "/" in action):
        fix = "write such as deploy:s3:PutObject, or deploy:Microsoft.KeyVault/vaults/write"
        raise KitError(f"{text!r} is no role with an action", where="--without", fix=fix)
    return role, action


def _say(done: "Report", folder: Path) -> None:
    from llmops.context import say

    if failed := done.failed:
        error = failed.error or KitError("stopped")
        say(f"\nfailed: {failed.step.title}\n  {error.what}")
        if error.where:
            say(f"  where: {error.where}")
        if error.fix:
            say(f"  fix: {error.fix}")
    if done.kept:
        say(f'\nkept: {done.kept}\n  eval "$(llmops twin {done.target} env --home {done.kept}/twin)"   to look around')
        say(f"  llmops twin {done.target} down --home {done.kept}/twin && rm -rf {done.kept}   to end it")
    for line in done.swept:
        print(line)
    if done.differences is not None:
        print("cloud and twin differed in nothing" if not done.differences else "where cloud and twin differed:")
        print("\n".join(f"  {line}" for line in done.differences))
    elif done.live:
        print(f"no rehearsal on a twin to compare with: `llmops rehearse {done.target}` makes one")
    count = sum(r.state == "passed" for r in done.results)
    print(f"{count} of {len(done.results)} steps passed in {done.seconds:.0f} s; the report is in {folder}")
