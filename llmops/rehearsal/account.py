"""The caller's own account in the twin's place: limited in dollars and hours, tagged, and swept at the end."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from contract.errors import KitError
from llmops.platforms.base import Say
from llmops.project import Project
from llmops.rehearsal.clouds.base import Caller, Cloud
from llmops.rehearsal.world import World, become, bring_base, copy_project

_SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?")
_AHEAD_HOURS = 0.25  # a step may take so long: what it will cost at the present rate counts already


class AccountWorld(World):
    """Every command runs as the caller; roles are taken from nobody.

    Its stacks have names of their own, carry tags and a time at which they expire, and their state is in the
    rehearsal's folder, which stays until nothing is left in the account.
    """

    live = True
    up_options = ("--dev",)  # the state is this rehearsal's alone

    def __init__(self, cloud: Cloud, project: Project, folder: Path, max_usd: float, ttl: timedelta) -> None:
        super().__init__(cloud, project, folder)
        self._id = f"rehearse-{secrets.token_hex(2)}"
        self._max_usd = max_usd
        self._end = datetime.now(UTC) + ttl
        self._caller = Caller("", "", "")

    def open(self, say: Say) -> None:
        """Look who the caller is, and make the project's copy; nothing is made in the account.

        Raises:
            KitError: there are no credentials.
        """
        from llmops.engine import ensure

        engine = ensure()
        bring_base(self.source, say)
        copy_project(self.source, self.project)
        state = self.folder / "state"
        state.mkdir()
        own = {"PULUMI_BACKEND_URL": state.as_uri(), "PULUMI_CONFIG_PASSPHRASE": "", "VIRTUAL_ENV": sys.prefix}
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
        """Take every stack down with its data, then sweep what still carries its tags."""
        if self.meter:
            self.meter.stop()
        if not self._before:
            return
        try:
            if not keep:
                for stack in ("dev", "prod"):
                    self._remove(self.stack(stack))
        finally:
            become(self._before)
        if not keep and not self.swept:
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):
                self.folder.parent.rmdir()

    def stack(self, name: str) -> str:
        """The name of the stack dev or prod in this account."""
        return f"{self._id}-{name}"

    def settings(self) -> dict[str, Any]:
        """What the target's own key of the stacks says beside the region."""
        return {"tags": {"llmops:rehearsal": self._id}}

    def more_settings(self) -> dict[str, Any]:
        """Other keys of the stacks."""
        return {"expires": self._end.strftime("%Y-%m-%dT%H:%MZ")}

    def is_ours(self, name: str) -> bool:
        """Is something of this name the rehearsal's?"""
        return self._id in name

    def place(self) -> str:
        """Where it is, in words."""
        twin = self._caller.twin
        return f"the caller's account ({f'a twin at {twin}' if twin else self.cloud.title}), as stacks {self._id}-…"

    def check_limits(self) -> None:
        """See that neither time nor money is used up.

        Raises:
            KitError: naming the limit; what was made is taken down then.
        """
        if datetime.now(UTC) > self._end:
            raise KitError("its time is over", where="--ttl", fix="give it more; what was made is taken down now")
        if not self.meter:
            return
        self.meter.look()
        if self.meter.unknown and not self._caller.twin:
            raise KitError(
                f"the price of {', '.join(sorted(self.meter.unknown))} is not known, so --max-usd can't be kept",
                where="--max-usd",
                fix="`llmops prices refresh` fetches it; what was made is taken down now",
            )
        expected = self.meter.usd + self.meter.rate * _AHEAD_HOURS
        if expected > self._max_usd:
            raise KitError(
                f"it has cost about ${self.meter.usd:.4f}, and the next step might bring it to ${expected:.4f}",
                where=f"--max-usd {self._max_usd:g}",
                fix="give it more; what was made is taken down now",
            )

    def _remove(self, stack: str) -> None:
        """With its data; what that leaves, by its tags. What is left even then is named in the report."""
        path = self.project / f"Pulumi.{stack}.yaml"
        if not path.exists():
            return
        done = self._llmops(stack, "down", "--data", stack)
        if done.returncode and "does not exist yet" not in done.stderr:
            done = self._destroy(stack)  # a first `up` that failed leaves a stack that says nothing of itself
            if done.returncode:
                self.swept.append(f"`pulumi destroy --stack {stack}` failed: {_last(done.stdout + done.stderr)}")
        found = self._llmops(stack, "sweep", "--of", stack, "--json")
        rows = json.loads(found.stdout)["left"] if not found.returncode else []
        left = [row for row in rows if not row["keep"]]  # a key that waits for its deletion must stay so long
        if left:
            done = self._llmops(stack, "sweep", "--of", stack, "--data", stack, "--remove", "--yes")
            self.swept += [f"swept: {thing['kind']} {thing['name']}" for thing in left]
        for each in (found, done):
            if each.returncode and "sweep" in each.args:
                self.swept.append(f"the sweep of {stack} failed: {_last(each.stderr)}")

    def _destroy(self, stack: str) -> subprocess.CompletedProcess[str]:
        from llmops.engine import ensure

        engine = str(ensure().pulumi)
        self._run([engine, "state", "unprotect", "--all", "--yes", "--stack", stack])
        return self._run([engine, "destroy", "--yes", "--skip-preview", "--non-interactive", "--stack", stack])

    def _llmops(self, stack: str, *words: str) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, "-m", "llmops", *words, "--stack", stack])

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
    """`2h`, `90m`, `1h30m`.

    Raises:
        KitError: it is something else, or no time at all.
    """
    match = _SPAN.fullmatch(text)
    span = timedelta(hours=int(match[1] or 0), minutes=int(match[2] or 0)) if match else timedelta()
    if not span:
        raise KitError(f"{text!r} is no span of time", where="--ttl", fix="write 2h, 90m or 1h30m")
    return span


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[-3:])
