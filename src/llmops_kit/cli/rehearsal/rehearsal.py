"""`llmops rehearse CLOUD`: set up, run the steps, write the report, and clean up."""

import json
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from llmops_kit.cli import __version__
from llmops_kit.cli.rehearsal import runner
from llmops_kit.cli.rehearsal.account import AccountWorld
from llmops_kit.cli.rehearsal.clouds.cloud import Cloud
from llmops_kit.cli.rehearsal.fault_case import FaultCase
from llmops_kit.cli.rehearsal.lifecycle import STEPS
from llmops_kit.cli.rehearsal.recipes import RECIPE, find_recipe
from llmops_kit.cli.rehearsal.report import report as reports
from llmops_kit.cli.rehearsal.report.files import write
from llmops_kit.cli.rehearsal.report.live_view import Show
from llmops_kit.cli.rehearsal.report.report import Report
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.rehearsal.steps import RehearsalStep, Result, chosen
from llmops_kit.cli.rehearsal.twin import TwinWorld
from llmops_kit.cli.rehearsal.world import World
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.store.store import now
from llmops_kit.contract.errors import KitError, require_packages

FOLDER = ".llmops/rehearsals"
LAST = "last-{}.json"
"""In that folder: the last whole rehearsal on a cloud's twin that passed, which one on an account is compared with."""
_LOOK_SECONDS = {False: 10.0, True: 20.0}  # of the meter, on a twin and on an account, beside the ends of steps


@dataclass(frozen=True)
class SpendingLimits:
    """Of a rehearsal on the caller's account."""

    usd: float
    ttl: timedelta


@dataclass(frozen=True)
class RehearsalOptions:
    """Options of a rehearsal. `without` are (role, action); `limits`: on the caller's own account."""

    only: Sequence[str] = ()
    faults: Sequence[str] = ()
    without: Sequence[tuple[str, str]] = ()
    keep: bool = False
    report: Path = Path("rehearsal-report")
    limits: SpendingLimits | None = None
    recipe: Path | None = None
    """None: the project's `RECIPE`."""
    steps: int = 0
    """Optimizer steps that the recipe is shortened to; 0: it is trained as it is."""


def rehearse(cloud: Cloud, project: Project, options: RehearsalOptions, console: Console) -> Report:
    """Rehearse on a temporary twin, or on the caller's account.

    Raises:
        KitError: before the first step: no such step or fault, something that is missing, no twin. A step that fails is
            in the report.
        KeyboardInterrupt: it was ended; the report is written, and what was made is gone.
    """
    require_packages(*cloud.extra)
    steps = [s for s in chosen(STEPS, options.only) if s.live or not options.limits]
    cases = _cases(cloud, options, steps)
    folder = project.folder / FOLDER / f"{time.strftime('%H%M%S')}-{secrets.token_hex(3)}"
    world = _world(cloud, project, folder, options)
    world.recipe = find_recipe(project, options.recipe or project.folder / RECIPE, bool(options.limits))
    world.most_steps = options.steps
    logs = options.report / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    with Show(console, steps) as show:
        stage = Stage(world, logs, show.says, results=[Result(step) for step in steps])
        made = Report(cloud.target, cloud.title, now(), 0.0, "", world.live, __version__, stage.results, stage.timeline)
        made.recipe, made.most_steps = world.recipe, world.most_steps
        made.fault = ", ".join(options.faults)
        made.without = [f"{role}:{action}" for role, action in options.without]
        began = False
        try:
            world.open(show.says)
            began = True
            made.place = world.place()
            stage.timeline.begin()
            _start_meter(stage)
            stage.results = made.results = runner.run(steps, stage, show, cases)
            made.unjudged = world.unjudged()
        finally:
            made.seconds, made.results = stage.timeline.now(), stage.results
            made.policies = stage.policies
            made.kept = str(folder) if options.keep else ""
            _keep_log(logs, world.log())
            show.says("cleaning up")
            world.close(options.keep)
            if began:
                _finish(made, world, project, options)
    return made


def _cases(cloud: Cloud, options: RehearsalOptions, steps: Sequence[RehearsalStep]) -> dict[str, FaultCase]:
    """Returns step -> the fault that it meets."""
    if options.faults and options.limits:
        raise KitError("faults can't be injected into a real account", where="--fault", fix="leave out --live")
    found: dict[str, FaultCase] = {}
    for case in map(cloud.fault, options.faults):
        if case.step not in {s.id for s in steps}:
            raise KitError(
                f"the fault {case.name} belongs to the step {case.step}, which is not selected",
                where="--only",
                fix=f"--only {case.step}",
            )
        if case.step in found:
            raise KitError(f"{found[case.step].name} belongs to the step {case.step} too", where=f"--fault {case.name}")
        found[case.step] = case
    return found


def _world(cloud: Cloud, project: Project, folder: Path, options: RehearsalOptions) -> World:
    for role, action in options.without:
        if role not in cloud.roles:
            where = f"--without {role}:{action}"
            raise KitError(f"there is no role {role}", where=where, fix=f"the roles are {', '.join(cloud.roles)}")
    if options.limits is None:
        return TwinWorld(cloud, project, folder, options.without, keep=options.keep)
    if options.without:
        raise KitError("the caller's own roles stay as they are", where="--without", fix="leave out --live")
    return AccountWorld(cloud, project, folder, options.limits.usd, options.limits.ttl)


def _start_meter(stage: Stage) -> None:
    from llmops_kit.cli.plan.prices import load_prices
    from llmops_kit.cli.rehearsal.cost_meter import Meter

    prices = load_prices(stage.cloud.caller().region)
    meter = stage.world.meter = Meter(stage.cloud.standing, prices, stage.timeline, stage.world.is_ours)
    if isinstance(stage.world, AccountWorld):
        meter.looked = stage.world.watch
    meter.start(_LOOK_SECONDS[stage.world.live])


def _keep_log(logs: Path, text: str) -> None:
    if text and logs.is_dir():
        (logs / "twin.txt").write_text(text)


def _finish(made: Report, world: World, project: Project, options: RehearsalOptions) -> None:
    """Compare with the twin, write the report, and remember a whole one that passed."""
    last = project.folder / FOLDER / LAST.format(world.cloud.target)
    if world.live:
        made.usd = world.meter.estimate if world.meter else None
        made.swept = world.swept
        if last.is_file():
            made.differences = reports.compare(reports.document(made), json.loads(last.read_text()))
    write(made, options.report)
    if made.passed and not (world.live or options.only or options.without or options.recipe or options.steps):
        last.parent.mkdir(parents=True, exist_ok=True)
        last.write_text(reports.to_json(made))
