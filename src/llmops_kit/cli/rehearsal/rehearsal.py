"""`llmops rehearse CLOUD`: set up, run the steps, write the report, and clean up."""

import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from llmops_kit.cli import __version__
from llmops_kit.cli.rehearsal import runner
from llmops_kit.cli.rehearsal.cloud import Cloud
from llmops_kit.cli.rehearsal.fault_case import FaultCase
from llmops_kit.cli.rehearsal.lifecycle import STEPS
from llmops_kit.cli.rehearsal.recipes import RECIPE, find_recipe
from llmops_kit.cli.rehearsal.rehearsal_twin import TwinWorld
from llmops_kit.cli.rehearsal.report.live_view import Show
from llmops_kit.cli.rehearsal.report.report import Report
from llmops_kit.cli.rehearsal.report.report_files import write
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.rehearsal.steps import RehearsalStep, Result, chosen
from llmops_kit.cli.rehearsal.world import World
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.store.store import now
from llmops_kit.core.errors import KitError, require_packages

FOLDER = ".llmops/rehearsals"
_LOOK_SECONDS = 10.0  # of the meter, beside the ends of steps


@dataclass(frozen=True)
class RehearsalOptions:
    """Options of a rehearsal. `without` are (role, action)."""

    only: Sequence[str] = ()
    faults: Sequence[str] = ()
    without: Sequence[tuple[str, str]] = ()
    keep: bool = False
    report: Path = Path("rehearsal-report")
    recipe: Path | None = None
    """None: the project's `RECIPE`."""
    steps: int = 0
    """Optimizer steps that the recipe is shortened to; 0: it is not shortened."""


def rehearse(cloud: Cloud, project: Project, options: RehearsalOptions, console: Console) -> Report:
    """Rehearses on a temporary twin.

    Raises:
        KitError: before the first step: no such step or fault, a missing prerequisite, no twin. A step that fails is in
            the report.
        KeyboardInterrupt: the user ended it; the report is written, and the twin is removed.
    """
    require_packages(*cloud.extra)
    steps = chosen(STEPS, options.only)
    cases = _cases(cloud, options, steps)
    folder = project.folder / FOLDER / f"{time.strftime('%H%M%S')}-{secrets.token_hex(3)}"
    world = _world(cloud, project, folder, options)
    world.recipe = find_recipe(project, options.recipe or project.folder / RECIPE, live=False)
    world.most_steps = options.steps
    logs = options.report / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    with Show(console, steps) as show:
        stage = Stage(world, logs, show.says, results=[Result(step) for step in steps])
        made = Report(cloud.target, cloud.title, now(), 0.0, "", False, __version__, stage.results, stage.timeline)
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
                write(made, options.report)
    return made


def _cases(cloud: Cloud, options: RehearsalOptions, steps: Sequence[RehearsalStep]) -> dict[str, FaultCase]:
    """Returns id of a step -> the fault that is injected in it."""
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
    return TwinWorld(cloud, project, folder, options.without, keep=options.keep)


def _start_meter(stage: Stage) -> None:
    from llmops_kit.cli.machines.prices import load_prices
    from llmops_kit.cli.rehearsal.cost_meter import Meter

    prices = load_prices(stage.cloud.caller().region)
    meter = stage.world.meter = Meter(stage.cloud.standing, prices, stage.timeline, stage.world.is_ours)
    meter.start(_LOOK_SECONDS)


def _keep_log(logs: Path, text: str) -> None:
    if text and logs.is_dir():
        (logs / "twin.txt").write_text(text)
