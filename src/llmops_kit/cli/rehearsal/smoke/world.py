"""World of a smoke test: its own project and storage of states in the caller's account, and a verified take-down."""

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
    """Its folder stays until nothing is left in the account. All of its resources belong to its own project, so that
    `llmops bootstrap` creates new ones for it, which can all be removed at the end.
    """

    up_options = ("--no-build",)  # its own steps push images, and deploy another one

    def __init__(self, cloud: Cloud, project: Project, folder: Path, max_usd: float, progress: Progress) -> None:
        left = datetime.fromtimestamp(progress.ends, UTC) - datetime.now(UTC)
        super().__init__(cloud, project, folder, max_usd, max(left, timedelta()), progress.id)
        self.progress = progress
        self.recipe, self.most_steps = progress.recipe, progress.most_steps
        self.keep: Callable[[], None] = lambda: None
        """Stores the progress."""
        self.ended = False
        """Whether only the take-down remains, which no limit stops."""

    def open(self, say: Say) -> None:
        """Opens the account; ends processes that an earlier process of the same smoke test left running.

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
                fix="use the credentials that it began with, then repeat the command",
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
        """Returns a name such as dev-1a2b; the rest of the id is in the project's name."""
        return f"{name}-{self.id.rpartition('-')[2]}"

    @property
    def stack_file(self) -> Path:
        return self.project / f"Pulumi.{self.stack('dev')}.yaml"

    def settings(self) -> dict[str, Any]:
        """Returns the settings in the target's own key beside the region."""
        return {"tags": {"llmops:smoke": self.id}}

    def check_limits(self) -> None:
        """Checks that neither time nor money is used up; the take-down ignores the limits.

        Raises:
            LimitError: one is; names it.
        """
        if not self.ended:
            super().check_limits()

    def watch(self) -> None:
        """Called in the background, after each estimate; does nothing once the test has ended."""
        if not self.ended:
            super().watch()

    def stop_machines(self) -> None:
        """Stops machines that are billed by the hour; keeps data.

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
        """Removes everything, and checks the account.

        Returns:
            Resources that the cloud keeps for some days; and others' new resources in the account, by their names.

        Raises:
            KitError: a resource of the smoke test is left, by name or by tag.
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
        """Returns the account's resources, after checking that none is the smoke test's, except names with `aside`.

        Raises:
            KitError: one is; or a removal failed.
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
    """Interrupts running commands of a killed smoke test, as Ctrl-C does, and waits for their end."""
    for process in _commands_in(project):
        words = process.info["cmdline"]
        if words[1:3] == ["-m", "llmops_kit.cli"]:  # it passes the signal to its child processes
            say(f"ending a command that was left running: llmops {' '.join(words[3:6])}")
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
