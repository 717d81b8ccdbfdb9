"""`llmops rehearse aws`: make the world, run the steps, write the report, and leave nothing behind."""

import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from contract.errors import KitError, require_packages
from llmops import __version__
from llmops.project import Project
from llmops.rehearsal import report as reports
from llmops.rehearsal import runner
from llmops.rehearsal.acts import STEPS
from llmops.rehearsal.faults import find
from llmops.rehearsal.report import Report
from llmops.rehearsal.stage import Stage
from llmops.rehearsal.steps import chosen
from llmops.rehearsal.view import Show
from llmops.rehearsal.world import TwinWorld
from llmops.store import now

FOLDER = ".llmops/rehearsals"


@dataclass(frozen=True)
class Options:
    """What was asked for. `without` are (role, action)."""

    only: Sequence[str] = ()
    fault: str = ""
    without: Sequence[tuple[str, str]] = ()
    keep: bool = False
    report: Path = Path("rehearsal-report")


def rehearse(project: Project, options: Options, console: Console) -> Report:
    """Rehearse on a twin of its own.

    Raises:
        KitError: before the first step: no such step or fault, something that is missing, no twin. A step that fails is
            in the report.
        KeyboardInterrupt: it was ended; the report is written, and what was made is gone.
    """
    require_packages("twin", "moto", "flask", "boto3", "pulumi_aws")
    case = find(options.fault) if options.fault else None
    steps = chosen(STEPS, options.only)
    if case and case.step not in {s.id for s in steps}:
        raise KitError(f"the fault {case.name} meets the step {case.step}, which is not chosen", where="--only")
    folder = project.folder / FOLDER / f"{time.strftime('%H%M%S')}-{secrets.token_hex(3)}"
    world = TwinWorld(project, folder, options.without)
    logs = options.report / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    with Show(console, steps) as show:
        stage = Stage(world, logs, show.says)
        made = Report(now(), 0.0, world.place(), world.live, __version__, [], stage.timeline, fault=options.fault)
        made.without = [f"{role}:{action}" for role, action in options.without]
        try:
            world.open(show.says)
            stage.timeline.begun = time.monotonic()
            stage.results = [runner.Result(step) for step in steps]
            runner.run(steps, stage, show, case)
            made.unjudged = world.unjudged()
        finally:
            made.seconds, made.results = stage.timeline.now(), stage.results
            made.kept = str(folder) if options.keep else ""
            (logs / "twin.txt").write_text(world.log()) if logs.is_dir() else None
            world.close(options.keep)
            if stage.results:
                reports.write(made, options.report)
    return made
