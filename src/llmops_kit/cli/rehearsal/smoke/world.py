"""The caller's account for a smoke test: a project and a place of states of its own, and a take-down that is proven."""

import re
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.rehearsal.account import AccountWorld, last_lines
from llmops_kit.cli.rehearsal.cloud import Cloud
from llmops_kit.cli.rehearsal.recipes import shorten
from llmops_kit.cli.rehearsal.smoke.smoke_progress import Progress
from llmops_kit.cli.stacks.project import Project
from llmops_kit.core.errors import KitError

_NAME = re.compile(r"^name: .*$", re.MULTILINE)
_END_SECONDS = 120


class SmokeWorld(AccountWorld):
    """Its folder stays until nothing is left in the account. What it makes is of a project of its own, so that
    `llmops bootstrap` makes all anew there, and all of it may go at the end.
    """

    up_options = ("--no-build",)  # its own steps push images, and deploy another one

    def __init__(self, cloud: Cloud, project: Project, folder: Path, max_usd: float, progress: Progress) -> None:
        left = datetime.fromtimestamp(progress.ends, UTC) - datetime.now(UTC)
        super().__init__(cloud, project, folder, max_usd, max(left, timedelta()), progress.id)
        self.progress = progress
        self.recipe, self.most_steps = progress.recipe, progress.most_steps
        self.keep: Callable[[], None] = lambda: None
        """Writes the progress down."""
        self.ended = False
        """Is it about the take-down alone, which no limit holds up?"""

    def open(self, say: Say) -> None:
        """Becomes a client; ends what an earlier process of the same smoke test left running.

        Raises:
            KitError: there are no credentials, or those of another account.
        """
        super().open(say)
        if self.progress.backend:
            self.use_backend(self.progress.backend, self.progress.secrets_provider)
        now = self.cloud.caller()
        if (now.account, now.region) != (self.progress.account, self.progress.region):
            raise KitError(
                f"the smoke test is in {self.progress.account}, {self.progress.region}, and these credentials are of "
                f"{now.account}, {now.region}",
                where=now.name,
                fix="take those that it began with, then repeat the command",
            )
        _end_left(str(self.project), say)
        if self.stack_file.exists():
            self._cancel(self.stack("dev"))

    def copy(self) -> None:
        """Copies the project under its own name, with its recipe shortened if that was asked for; leaves the copy as it
        is if the smoke test continues.
        """
        if self.project.exists():
            return
        half = self.folder / "copying"
        shutil.rmtree(half, ignore_errors=True)
        self.source.link_into(half)
        path = half / "Pulumi.yaml"
        path.write_text(_NAME.sub(f"name: {self.id}", path.read_text(), count=1))
        if self.most_steps:
            shorten(half, self.recipe, self.most_steps)
        half.rename(self.project)

    def stack(self, name: str) -> str:
        """Returns a name such as dev-1a2b: the project's name has the rest."""
        return f"{name}-{self.id.rpartition('-')[2]}"

    @property
    def stack_file(self) -> Path:
        return self.project / f"Pulumi.{self.stack('dev')}.yaml"

    def settings(self) -> dict[str, Any]:
        """Returns the settings in the target's own key beside the region."""
        return {"tags": {"llmops:smoke": self.id}}

    def check_limits(self) -> None:
        """Check that neither time nor money is used up; the take-down comes whatever it costs.

        Raises:
            LimitError: naming the limit.
        """
        if not self.ended:
            super().check_limits()

    def watch(self) -> None:
        """Called in the background, after each look; does nothing once the test has ended."""
        if not self.ended:
            super().watch()

    def stop_machines(self) -> None:
        """Stops what costs by the hour; data stay.

        Raises:
            KitError: something may still run.
        """
        stack = self.stack("dev")
        if not self.stack_file.exists():
            return
        done = self._llmops(stack, "down", "--discard-runs")
        assert self.meter
        try:
            self.meter.look()
            why = f"${self.meter.rate:.2f} an hour; {last_lines(done.stderr)}" if self.meter.rate else ""
        except KitError as e:
            why = e.what
        if why:
            raise KitError(
                f"machines may still run: {why}",
                where=f"`llmops down --stack {stack}`",
                fix="fix the error, then run --take-down or --resume immediately",
            )

    def take_down(self) -> tuple[list[str], list[str]]:
        """Remove everything, and look.

        Returns:
            What the cloud keeps for some days all the same; and what is new in the account, and not ours by its name.

        Raises:
            KitError: something of ours is left, by name or by tag.
        """
        if not self.progress.emptied:
            self.swept.clear()
            self._remove(self.stack("dev"))
            self._require_nothing([f for f in self.swept if "failed" in f], aside=f"{self.id}-state")
            self.progress.emptied = True
            self.keep()  # from here on the states may be gone
        self.cloud.remove_bootstrapped(self.id)
        after = self._require_nothing([])
        before = self.progress.before if self.progress.before is not None else after
        new = sorted(t for t in after if t not in before and not self.cloud.is_the_clouds(t))
        return sorted(t for t in after if self.id in t), new

    def _require_nothing(self, failed: list[str], aside: str = "") -> list[str]:
        """Returns what the account holds, after checking that nothing of it is ours except names like `aside`.

        Raises:
            KitError: something is; or a removal failed.
        """
        after = sorted(self.cloud.held())
        ours = [t for t in after if self.id in t and not (aside and aside in t) and not self.cloud.is_the_clouds(t)]
        if failed or ours:
            raise KitError(
                "; ".join([*failed, *(["left behind: " + ", ".join(ours)] if ours else [])]),
                where=self.progress.account,
                fix=f"fix the error, then run `llmops smoke {self.cloud.target} --take-down`",
            )
        return after


def _end_left(project: str, say: Say) -> None:
    """Ends commands of a killed smoke test that still run, in order, as by Ctrl-C."""
    for process in _commands_in(project):
        words = process.info["cmdline"]
        if words[1:3] == ["-m", "llmops_kit.cli"]:  # which hands it on to what it runs
            say(f"ending what was left running: llmops {' '.join(words[3:6])}")
            with suppress(psutil.Error):
                process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + _END_SECONDS
    while _commands_in(project) and time.monotonic() < deadline:
        time.sleep(0.5)


def _commands_in(project: str) -> list[psutil.Process]:
    """Returns the processes of the kit and its engine in the smoke test's project."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words, cwd = process.info["cmdline"] or [], process.info["cwd"] or ""
        if cwd.startswith(project) and any("llmops" in word or "pulumi" in word for word in words):
            found.append(process)
    return found
