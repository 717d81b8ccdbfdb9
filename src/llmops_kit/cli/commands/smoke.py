"""smoke: a scripted first deployment on the caller's own account."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmops_kit.cli.context import Context
from llmops_kit.cli.terminal.questions import confirm
from llmops_kit.clouds.targets import cloud_names
from llmops_kit.core.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.cli.rehearsal.report.report import Report
    from llmops_kit.cli.rehearsal.smoke.smoke import Smoke

MaxUsd = Annotated[float, typer.Option(help="Take everything down before the estimated cost exceeds this.", min=0)]
Ttl = Annotated[
    str,
    typer.Option(help="Take everything down after this time, such as 2h or 90m; default: 3h. Resources expire then."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Resume the last smoke test, which failed or was killed.")]
TakeDown = Annotated[
    bool,
    typer.Option("--take-down", help="Only remove the resources of the last smoke test, and check that they are gone."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation.")]
Recording = Annotated[
    Path | None,
    typer.Option(help="File to write an anonymised recording of requests and responses to.", metavar="FILE"),
]
Steps = Annotated[
    list[str] | None,
    typer.Option(help="Run this step and those it needs, then the take-down. Repeatable.", metavar="STEP"),
]
Recipe = Annotated[
    Path | None,
    typer.Option(help="Recipe of this project to train. Default: recipes/rehearsal.yaml.", metavar="RECIPE"),
]
Shortened = Annotated[
    int | None, typer.Option(help="Shorten the recipe to this many optimizer steps.", min=2, metavar="N")
]
ReportFolder = Annotated[Path, typer.Option(help="Folder of the report.", metavar="FOLDER")]


def register(app: typer.Typer) -> None:
    app.command(no_args_is_help=True)(smoke)


def smoke(
    context: typer.Context,
    cloud: Annotated[str, typer.Argument(help=f"Cloud of the account: {' or '.join(cloud_names())}.", metavar="CLOUD")],
    recipe: Recipe = None,
    steps: Shortened = None,
    only: Steps = None,
    max_usd: MaxUsd = 10.0,
    ttl: Ttl = "",
    resume: Resume = False,
    take_down: TakeDown = False,
    yes: Yes = False,
    record: Recording = None,
    report: ReportFolder = Path("smoke-report"),
) -> None:
    """Deploy, use and remove a stack on your own account, for a few dollars, and settle open questions.

    Bootstrap, push, a run and an endpoint on CPUs, a worse version that its quality rolls
    back, an image change, drift, down, down with data, up again; then everything is taken
    down, and the account is checked for leftovers. Takes about an hour.

    It uses a project and a stack of its own, whose resources are tagged with an expiry.
    After a failure, resources billed by the hour are stopped; data stay for --resume.
    It writes report.html and report.json, which name no account. Exit code 1: a step failed.

    llmops smoke aws
    llmops smoke azure --max-usd 5 --ttl 2h
    llmops smoke aws --recipe recipes/mine/recipe.yaml --steps 20
    llmops smoke aws --only ask
    llmops smoke aws --resume
    llmops smoke aws --take-down
    llmops smoke aws --record aws.json
    """
    from llmops_kit.cli.rehearsal.account import parse_span
    from llmops_kit.cli.rehearsal.clouds import find_cloud
    from llmops_kit.cli.rehearsal.smoke.smoke import Smoke, SmokeOptions

    here: Context = context.obj
    if resume and take_down:
        raise typer.BadParameter("--resume and --take-down exclude each other", param_hint="--resume, --take-down")
    if (recipe or steps or only) and (resume or take_down):
        raise typer.BadParameter("a smoke test keeps those that it began with", param_hint="--recipe, --steps, --only")
    folder = (here.cwd / report).absolute()
    to = record and (here.cwd / record).absolute()
    options = SmokeOptions(
        max_usd,
        parse_span(ttl) if ttl else None,
        resume,
        take_down,
        folder,
        to,
        tuple(only or ()),
        recipe and here.cwd / recipe,
        steps or 0,
    )
    test = Smoke(find_cloud(cloud), here.project, options)
    if not yes:
        _ask(test)
    _run(test)


def _ask(test: "Smoke") -> None:
    from datetime import UTC, datetime

    progress, usd = test.progress, test.options.usd
    where = f"{progress.account}, {progress.region}"
    if test.only_ends:
        question = f"Remove everything called {progress.id} in {where}?"
    else:
        ends = datetime.fromtimestamp(progress.ends, UTC)
        question = f"Smoke test in {where}, for at most ${usd:g}, until {ends:%H:%M} UTC?"
    confirm(question, abort=True)


def _run(test: "Smoke") -> None:
    from rich.console import Console

    from llmops_kit.cli.pulumi_engine.warm import kept_warm

    with kept_warm():
        done = test.run(Console(stderr=True, highlight=False))
    _say(done, test.options.report)
    if done.unfinished or not (done.passed or test.options.take_down):
        raise typer.Exit(1)


def _say(done: "Report", folder: Path) -> None:
    from llmops_kit.cli.context import say

    if failed := done.failed:
        error = failed.error or KitError("stopped")
        say(f"\nfailed: {failed.step.title} ({failed.step.id})\n  {error.what}")
        if error.where:
            say(f"  where: {error.where}")
        if error.fix:
            say(f"  fix: {error.fix}")
    for line in done.swept:
        print(line)
    for state in ("otherwise", "as assumed", "not answered"):
        found = [each for each in done.questions if each.state == state]
        if found:
            print(f"{state}: {len(found)} of {len(done.questions)} questions")
        for each in found if state == "otherwise" else []:
            print(f"  {each.id}: {each.did}")
    if done.differences is not None:
        print("cloud and twin behaved the same" if not done.differences else "differences between cloud and twin:")
        print("\n".join(f"  {line}" for line in done.differences))
    verb = f"llmops smoke {done.target}"
    if done.unfinished:
        print(f"something is left in the account:\n  `{verb} --resume` continues, `{verb} --take-down` removes it")
    else:
        print("nothing is left in the account")
    count = sum(r.state == "passed" for r in done.results)
    print(
        f"{count} of {len(done.results)} steps passed in {done.seconds:.0f} s, for about ${done.usd or 0:.2f}; "
        f"the report is in {folder}"
    )
