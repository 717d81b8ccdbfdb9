"""World of a smoke test: the caller's own account, limited in dollars and hours, tagged, and swept at the end."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.rehearsal.cloud import Cloud, CloudCaller
from llmops_kit.cli.rehearsal.prerequisites import fetch_prerequisites
from llmops_kit.cli.rehearsal.world import World, become
from llmops_kit.cli.stacks.backend import folder_url
from llmops_kit.cli.stacks.project import Project
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.errors import KitError

_SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?")
_AHEAD_HOURS = 0.25  # of a long step, whose cost at the present rate is counted in advance
_TAKE_DOWN_HOURS = 0.05  # machines cost until they are removed


class LimitError(KitError):
    """Error for a limit of money or time that is used up."""


class AccountWorld(World):
    """Every command runs as the caller; no role is assumed.

    Its stacks have tags and an expiry.
    """

    live = True

    def __init__(self, cloud: Cloud, project: Project, folder: Path, max_usd: float, ttl: timedelta, id_: str) -> None:
        super().__init__(cloud, project, folder)
        self.id = id_
        self.end = datetime.now(UTC) + ttl
        cloud.only = self.id
        self._max_usd = max_usd
        self._caller = CloudCaller("", "", "")

    def open(self, say: Say) -> None:
        """Identifies the caller and copies the project; creates nothing in the account.

        Raises:
            KitError: there are no credentials.
        """
        from llmops_kit.cli.pulumi_engine.engine import ensure

        engine = ensure()
        path = self.source.folder / self.recipe
        self.collected = fetch_prerequisites(Recipe.load(path), path, say)
        self.copy()
        state = self.folder / "state"
        state.mkdir(exist_ok=True)
        own = {"PULUMI_BACKEND_URL": folder_url(state), "PULUMI_CONFIG_PASSPHRASE": "", "VIRTUAL_ENV": sys.prefix}
        environ = {k: v for k, v in os.environ.items() if k not in ("PULUMI_STACK", "PULUMI_ACCESS_TOKEN")}
        environ |= engine.env | own | {"PULUMI_SKIP_UPDATE_CHECK": "1"}
        self.environs = dict.fromkeys(("admin", "deploy", "preview", "promote"), environ)
        self._before = dict(os.environ)
        become(environ)
        self._caller = self.cloud.caller()
        say(f"as {self._caller.name}")
        if not self._caller.twin:
            self.cloud.require_prices(say, self._caller.region)

    def close(self, keep: bool = False) -> None:
        """Restores this process's environment. Removing is a separate step."""
        if self.meter:
            self.meter.stop()
        if self._before:
            become(self._before)

    def copy(self) -> None:
        """Creates the project that its commands run in."""
        raise NotImplementedError

    def more_settings(self) -> dict[str, Any]:
        """Returns further settings of the stacks."""
        return {"expires": self.end.strftime("%Y-%m-%dT%H:%MZ")}

    def is_ours(self, name: str) -> bool:
        """Returns whether something of this name belongs to the smoke test."""
        return self.id in name

    def place(self) -> str:
        twin = self._caller.twin
        return f"the caller's account ({f'a twin at {twin}' if twin else self.cloud.title}), as stacks {self.id}-…"

    @property
    def on_twin(self) -> bool:
        """Whether a twin stands in for the account."""
        return bool(self._caller.twin)

    def check_limits(self) -> None:
        """Checks that neither time nor money is used up.

        Raises:
            LimitError: one is; names it. The created resources are taken down then.
        """
        if self.meter:
            self.meter.look()
        self._check(_AHEAD_HOURS)

    def watch(self) -> None:
        """Ends the current step if a limit is reached or can't be kept; called in the background, after each
        estimate.
        """
        if self.over:
            return
        try:
            self._check(_TAKE_DOWN_HOURS)
        except KitError as e:
            self.over = e
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def _check(self, ahead_hours: float) -> None:
        if datetime.now(UTC) > self.end:
            raise LimitError(
                "its time is over", where="--ttl", fix="raise the limit; its resources are being removed now"
            )
        if not self.meter:
            return
        if self.meter.blind:
            raise KitError(
                f"the cost is not known, so --max-usd can't be kept: {self.meter.blind}",
                where=f"--max-usd {self._max_usd:g}",
                fix="fix the error, then repeat the command; what costs by the hour is being stopped now",
            )
        if self.meter.unknown and not self._caller.twin:
            raise LimitError(
                f"the price of {', '.join(sorted(self.meter.unknown))} is not known, so --max-usd can't be kept",
                where="--max-usd",
                fix="`llmops plan prices refresh` fetches it; its resources are being removed now",
            )
        expected = self.meter.usd + self.meter.rate * ahead_hours
        if expected > self._max_usd:
            raise LimitError(
                f"it has cost about ${self.meter.usd:.4f}, and the next step might bring it to ${expected:.4f}",
                where=f"--max-usd {self._max_usd:g}",
                fix="raise the limit; its resources are being removed now",
            )

    def _remove(self, stack: str) -> None:
        """Removes a stack with its data, then leftover resources by their tags; the report lists leftovers and
        failures.
        """
        path = self.project / f"Pulumi.{stack}.yaml"
        if not path.exists():
            return
        done = self._llmops(stack, "down", "--data", stack)
        if done.returncode and "does not exist yet" not in done.stderr:
            done = self._destroy(stack)  # after a failed first `up`, the stack has no outputs
            if done.returncode:
                self.swept.append(f"`pulumi destroy --stack {stack}` failed: {last_lines(done.stdout + done.stderr)}")
        found = self._llmops(stack, "down", "--orphans", "--of", stack, "--json")
        rows = json.loads(found.stdout)["left"] if not found.returncode else []
        left = [row for row in rows if not row["keep"]]  # a key whose deletion is scheduled
        if left:
            done = self._llmops(stack, "down", "--orphans", "--of", stack, "--data", stack, "--remove", "--yes")
            self.swept += [f"swept: {thing['kind']} {thing['name']}" for thing in left]
        for each in (found, done):
            if each.returncode and "--orphans" in each.args:
                self.swept.append(f"the sweep of {stack} failed: {last_lines(each.stderr)}")

    def _destroy(self, stack: str) -> subprocess.CompletedProcess[str]:
        from llmops_kit.cli.pulumi_engine.engine import ensure

        engine = str(ensure().pulumi)
        self._cancel(stack)
        self._run([engine, "state", "unprotect", "--all", "--yes", "--stack", stack])
        return self._run([engine, "destroy", "--yes", "--skip-preview", "--non-interactive", "--stack", stack])

    def _cancel(self, stack: str) -> None:
        """Removes the lock of a killed command: no other process uses this state."""
        from llmops_kit.cli.pulumi_engine.engine import ensure

        self._run([str(ensure().pulumi), "cancel", "--yes", "--stack", stack])

    def _llmops(self, stack: str, *words: str) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, "-m", "llmops_kit.cli", *words, "--stack", stack])

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.project,
            env=self.environs["admin"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def parse_span(text: str) -> timedelta:
    """Parses a span of time such as `2h`, `90m` or `1h30m`.

    Raises:
        KitError: it is something else, or no time at all.
    """
    match = _SPAN.fullmatch(text)
    span = timedelta(hours=int(match[1] or 0), minutes=int(match[2] or 0)) if match else timedelta()
    if not span:
        raise KitError(f"{text!r} is not a span of time", where="--ttl", fix="write 2h, 90m or 1h30m")
    return span


def last_lines(text: str) -> str:
    """Returns the last three lines of a command's output, joined."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[-3:])
