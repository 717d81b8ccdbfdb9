"""`llmops smoke CLOUD`: the first day on the caller's account, step by step, and a take-down that is proven."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from llmops_kit.cli import __version__
from llmops_kit.cli.platforms.exchanges import VARIABLE, recorder
from llmops_kit.cli.rehearsal import runner
from llmops_kit.cli.rehearsal.account import LimitError
from llmops_kit.cli.rehearsal.cloud import Cloud
from llmops_kit.cli.rehearsal.cost_meter import Meter
from llmops_kit.cli.rehearsal.questions import Question, table
from llmops_kit.cli.rehearsal.recipes import find_recipe
from llmops_kit.cli.rehearsal.report import report as reports
from llmops_kit.cli.rehearsal.report.live_view import Show
from llmops_kit.cli.rehearsal.report.report import Report
from llmops_kit.cli.rehearsal.report.report_files import write
from llmops_kit.cli.rehearsal.smoke import recordings
from llmops_kit.cli.rehearsal.smoke.anonymous import anonymous
from llmops_kit.cli.rehearsal.smoke.answers import answers
from llmops_kit.cli.rehearsal.smoke.smoke_progress import Progress, Shelf
from llmops_kit.cli.rehearsal.smoke.smoke_steps import BACK, DEPLOY, DOWN, END, STEPS
from llmops_kit.cli.rehearsal.smoke.world import SmokeWorld
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.rehearsal.steps import RehearsalStep, Result, chosen
from llmops_kit.cli.stacks.project import Project
from llmops_kit.core.errors import KitError, RefusedError, require_packages
from llmops_kit.core.expiry import utc_text
from llmops_kit.local_runtime.files import locked

FOLDER = ".llmops/smoke"
LAST = "last-{}.json"
"""In that folder: the report of the last smoke test of a cloud that ended. One on an account is compared with it if a
twin was in the account's place.
"""
_LOOK_SECONDS = 20.0
_MOST = "serve"  # after this step the account has the most resources


@dataclass(frozen=True)
class SmokeOptions:
    """Options of a smoke test. Without `resume` and `take_down` a new one begins."""

    usd: float = 10.0
    ttl: timedelta | None = None
    """From now; None: three hours for a new one, and a resumed one keeps its end."""
    resume: bool = False
    take_down: bool = False
    report: Path = Path("smoke-report")
    record: Path | None = None
    """Where an anonymised recording of requests and answers is written."""
    only: Sequence[str] = ()
    """Steps to run, with those that they need; empty: all."""
    recipe: Path | None = None
    """None: the project's `RECIPE`."""
    steps: int = 0
    """Optimizer steps that the recipe is shortened to; 0: it is not shortened."""


class Smoke:
    """A smoke test of a cloud in a project: started, resumed, or taken down."""

    def __init__(self, cloud: Cloud, project: Project, options: SmokeOptions) -> None:
        """Loads the progress of an unfinished smoke test, or starts a new one.

        Raises:
            KitError: there is none to resume or take down; or there is one, and neither is asked for; a limit of 0.
        """
        require_packages(*cloud.extra)
        self.cloud, self.project, self.options = cloud, project, options
        self.shelf = Shelf(project.folder / FOLDER / cloud.target)
        _require_limit(options)
        self.progress = self._begun(self.shelf.load())

    def run(self, console: Console) -> Report:
        """Runs the steps and the take-down.

        Raises:
            KitError: before the first step: no credentials, or another process is running it.
        """
        try:
            with locked(self.shelf.folder / ".lock", wait=False), self._recording():
                return self._run(console)
        except BlockingIOError as e:
            raise KitError(
                "another process is running it", where=str(self.shelf.folder), fix="wait for it, or stop it with Ctrl-C"
            ) from e

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Makes this process and its commands record inside the block, if the options ask for it."""
        if not self.options.record:
            yield
            return
        os.environ[VARIABLE] = str(self.shelf.folder.absolute() / "recording")
        try:
            yield
        finally:
            os.environ.pop(VARIABLE, None)

    def _begun(self, kept: Progress | None) -> Progress:
        again, target = self.options.resume or self.options.take_down, self.cloud.target
        if kept is None and again:
            raise KitError(
                "there is no smoke test to resume", where=str(self.shelf.folder), fix=f"`llmops smoke {target}`"
            )
        if kept and not again:
            raise RefusedError(
                f"a smoke test in {kept.account} has not ended",
                where=str(self.shelf.folder),
                fix=f"`llmops smoke {target} --resume` resumes it, `--take-down` removes its resources",
            )
        if kept is None:
            caller = self.cloud.caller()
            made = Progress.new(caller.account, caller.region, self.options.ttl or timedelta(hours=3))
            made.only = [step.id for step in chosen(STEPS, self.options.only)] if self.options.only else []
            if self.options.recipe:
                made.recipe = find_recipe(self.project, self.options.recipe, live=True)
            made.most_steps = self.options.steps
            return made
        if self.options.ttl:
            kept.ends = (datetime.now(UTC) + self.options.ttl).timestamp()
        return kept

    def _run(self, console: Console) -> Report:
        progress = self.progress
        world = SmokeWorld(self.cloud, self.project, self.shelf.folder, self.options.usd, progress)
        world.keep = lambda: self.shelf.save(progress)
        logs = self.options.report / "logs"
        steps = self._steps()
        with Show(console, [*steps, END]) as show:
            stage = Stage(world, logs, show.says, notes=progress.notes)
            progress.restore(stage.timeline)
            made = _report(stage, progress)
            view = _ProgressView(show, stage, self.shelf, progress, self.cloud.questions())
            self.shelf.save(progress)
            try:
                self._open(world, show)
                made.place, made.twin = world.place(), world.on_twin
                self._meter(stage)
                made.results = self._run_steps(steps, stage, view, show)
            finally:
                world.close()
            self._finish(made, stage, world)
        return made

    def _open(self, world: SmokeWorld, show: Show) -> None:
        try:
            world.open(show.says)
        except BaseException:
            if not (self.options.resume or self.options.take_down):  # nothing was created yet
                shutil.rmtree(self.shelf.folder, ignore_errors=True)
            raise

    @property
    def only_ends(self) -> bool:
        """Whether only the take-down remains, because it was asked for or has begun before."""
        return self.options.take_down or self.progress.ending

    @property
    def _chosen(self) -> list[RehearsalStep]:
        return chosen(STEPS, self.progress.only)

    def _steps(self) -> list[RehearsalStep]:
        """Returns the steps. If machines were stopped or the time was extended, deploys again before the remaining
        steps.
        """
        if self.only_ends:
            return []
        done = self.progress.steps
        renewed = self.options.resume and self.options.ttl
        back = (self.progress.stopped or renewed) and DEPLOY in done and DOWN not in done
        steps = self._chosen
        at = next((i for i, step in enumerate(steps) if step.id not in done), len(steps))
        return [*steps[:at], *([BACK] if back else []), *steps[at:]]

    def _run_steps(self, steps: list[RehearsalStep], stage: Stage, view: "_ProgressView", show: Show) -> list[Result]:
        """Runs the steps, then the take-down; after a failure only stops the machines that are billed by the
        hour. After a reached limit, the take-down runs too.
        """
        done, world = self.progress.done(self._chosen), stage.world
        assert isinstance(world, SmokeWorld)
        if self.only_ends:
            results = [done.get(step.id) or Result(step) for step in self._chosen]
        else:
            if world.stack_file.exists():
                stage.edit(lambda config: config.update(world.more_settings()))  # it may have more time now
            try:
                results = runner.run(steps, stage, view, done=done)
            except (KeyboardInterrupt, SystemExit):
                results = stage.results
            failed = next((r for r in results if r.state in ("failed", "stopped")), None)
            if failed and not isinstance(failed.error, LimitError):
                self._pause(stage, show)
                return results
        world.ended = self.progress.ending = True
        self.shelf.save(self.progress)
        return [*results, *runner.run([END], stage, view)]

    def _pause(self, stage: Stage, show: Show) -> None:
        world = stage.world
        assert isinstance(world, SmokeWorld)
        world.ended = True
        show.says("stopping what costs by the hour")
        try:
            world.stop_machines()
            self.progress.stopped = True
        except KitError as e:
            world.swept.append(str(e))
        self.shelf.save(self.progress)

    def _meter(self, stage: Stage) -> None:
        from llmops_kit.cli.machines.prices import load_prices

        world, progress = stage.world, self.progress
        assert isinstance(world, SmokeWorld)
        prices = load_prices(progress.region)
        meter = world.meter = Meter(stage.cloud.standing, prices, stage.timeline, world.is_ours)
        meter.usd = progress.spent(datetime.now(UTC).timestamp())

        def looked() -> None:
            self.shelf.save(progress, lambda: _count(progress, meter))
            world.watch()

        meter.looked = looked
        meter.start(_LOOK_SECONDS)

    def _finish(self, made: Report, stage: Stage, world: SmokeWorld) -> None:
        made.seconds, made.usd = stage.timeline.now(), world.meter.estimate if world.meter else None
        made.swept = world.swept
        made.questions = table(self.cloud.questions(), self.progress.answers, made.results)
        gone = made.results[-1].step is END and made.results[-1].state == "passed"
        made.unfinished = not gone
        caller = self.progress.account.rpartition(" ")[2]
        if (to := self.options.record) and (made_by := recorder()):
            recordings.write(to, self.cloud.target, world.on_twin, made_by.folder)
        last = self.shelf.folder.parent / LAST.format(self.cloud.target)
        if not made.twin and last.is_file() and (before := json.loads(last.read_text()))["twin"]:
            made.differences = reports.compare(reports.document(made), before)
        write(made, self.options.report, lambda text: anonymous(text, caller, str(self.project.folder)))
        if gone:
            shutil.copyfile(self.options.report / "report.json", last)
            shutil.rmtree(self.shelf.folder, ignore_errors=True)
            with suppress(OSError):
                self.shelf.folder.rmdir()


class _ProgressView:
    """Shows the steps, and stores the progress after each. See llmops_kit.cli.rehearsal.runner.View."""

    def __init__(
        self, show: Show, stage: Stage, shelf: Shelf, progress: Progress, questions: tuple[Question, ...]
    ) -> None:
        self._show, self._stage, self._shelf, self._progress = show, stage, shelf, progress
        self._questions = questions

    def begins(self, result: Result) -> None:
        if made_by := recorder():
            made_by.begin(result.step.id)
        self._show.begins(result)

    def says(self, line: str) -> None:
        self._show.says(line)

    def ends(self, result: Result) -> None:
        """Stores the result of a step before the next one begins."""
        found = answers(self._questions, self._stage, result)
        if recorder() and result.state == "passed" and result.step.id == _MOST:
            with suppress(KitError):
                self._stage.cloud.held()  # records how the cloud describes the engine's resources
        self._shelf.save(self._progress, lambda: self._remember(result, found))
        self._show.ends(result)

    def _remember(self, result: Result, found: dict[str, dict[str, str]]) -> None:
        progress = self._progress
        progress.answers |= found
        progress.keep(self._stage.timeline)
        if meter := self._stage.world.meter:
            _count(progress, meter)
        if result.state == "passed" and result.step not in (BACK, END):
            progress.passed(result)


def _count(progress: Progress, meter: Meter) -> None:
    progress.usd, progress.rate, progress.looked = meter.usd, meter.rate, datetime.now(UTC).timestamp()


def _report(stage: Stage, progress: Progress) -> Report:
    cloud, began = stage.cloud, utc_text(progress.begun)
    made = Report(cloud.target, cloud.title, began, 0.0, "", True, __version__, [], stage.timeline)
    made.kind = "smoke"
    made.recipe, made.most_steps = progress.recipe, progress.most_steps
    return made


def _require_limit(options: SmokeOptions) -> None:
    if options.usd <= 0 and not options.take_down:
        raise KitError(
            "a smoke test costs money, about one to three dollars",
            where=f"--max-usd {options.usd:g}",
            fix="set a limit above 0, such as --max-usd 10",
        )
