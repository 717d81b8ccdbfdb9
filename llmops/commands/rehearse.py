"""rehearse: the whole life of a model on a twin of the cloud."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contract.errors import KitError
from llmops.context import Context

if TYPE_CHECKING:
    from llmops.rehearsal.report import Report

rehearse = typer.Typer(no_args_is_help=True, help="Go through a model's whole life before anything is paid for.")


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(rehearse, name="rehearse", rich_help_panel="Clouds")


@rehearse.command("aws")
def rehearse_aws(
    context: typer.Context,
    only: Annotated[
        list[str] | None, typer.Option(help="This step, and those that it needs. Repeatable.", metavar="STEP")
    ] = None,
    fault: Annotated[str, typer.Option(help="Let this go wrong on the way.", metavar="NAME")] = "",
    without: Annotated[
        list[str] | None,
        typer.Option(help="Take an action away from a role: deploy:s3:PutObject. Repeatable.", metavar="ROLE:ACTION"),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the twin running and everything there, to look.")] = False,
    report: Annotated[Path, typer.Option(help="Where the report goes.", metavar="FOLDER")] = Path("rehearsal-report"),
) -> None:
    """Rehearse on a twin of AWS: from bootstrap to the last trace, with updates, faults and refusals.

    It has a twin, a state and a copy of this project of its own, under roles that
    `llmops bootstrap aws` makes; whatever tries to leave this machine is refused.
    The report: report.html, junit.xml for a CI, report.json. Exit code 1 when a step failed.

    llmops rehearse aws
    llmops rehearse aws --only plan
    llmops rehearse aws --fault throttle
    """
    import sys

    from rich.console import Console

    from llmops.rehearsal.rehearsal import Options, rehearse

    here: Context = context.obj
    folder = (here.cwd / report).absolute()
    options = Options(tuple(only or ()), fault, [_parse(each) for each in without or ()], keep, folder)
    done = rehearse(here.project, options, Console(stderr=True, highlight=False))
    _say(done, folder)
    if not done.passed:
        sys.exit(1)


def _parse(text: str) -> tuple[str, str]:
    role, _, action = text.partition(":")
    if not role or ":" not in action:
        raise KitError(f"{text!r} is no role with an action", where="--without", fix="write deploy:s3:PutObject")
    return role, action


def _say(done: "Report", folder: Path) -> None:
    from llmops.context import say

    if failed := done.failed:
        error = failed.error or KitError("stopped")
        say(f"\nfailed: {failed.step.title}\n  {error.what}")
        if error.where:
            say(f"  where: {error.where}")
        if error.fix:
            say(f"  way out: {error.fix}")
    if done.kept:
        say(f'\nkept: {done.kept}\n  eval "$(llmops twin aws env --home {done.kept}/twin)"   to look around')
        say(f"  llmops twin aws down --home {done.kept}/twin && rm -rf {done.kept}   to end it")
    count = sum(r.state == "passed" for r in done.results)
    print(f"{count} of {len(done.results)} steps passed in {done.seconds:.0f} s; the report is in {folder}")
