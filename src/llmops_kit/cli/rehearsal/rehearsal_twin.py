"""A temporary twin for a rehearsal: permissions checked, faults on request, and no network beyond this machine."""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.rehearsal.cloud import Cloud
from llmops_kit.cli.rehearsal.network_guard import Guard
from llmops_kit.cli.rehearsal.steps import PermissionCheck
from llmops_kit.cli.rehearsal.world import World, become, scrubbed
from llmops_kit.cli.stacks.project import Project

PACE = 1.0
"""Seconds that a status change takes: five minutes of a cloud in one second."""


class TwinWorld(World):
    """A twin of a cloud in the folder, with its state. Nothing can leave this machine.

    Without a key of the cloud, states are encrypted with a passphrase of this rehearsal; an empty one with `keep`,
    since later shells know only the twin.
    """

    def __init__(
        self,
        cloud: Cloud,
        project: Project,
        folder: Path,
        without: Iterable[tuple[str, str]] = (),
        *,
        keep: bool,
    ) -> None:
        super().__init__(cloud, project, folder)
        self._passphrase = "" if keep else secrets.token_urlsafe(16)
        self._twin = cloud.twin(folder / "twin")
        self._without = list(without)
        self._guard = Guard()

    def open(self, say: Say) -> None:
        """Fetches and builds everything that is missing, with the caller's own environment; then starts the twin.

        Raises:
            KitError: the engine or an image can't be built, model or data can't be fetched, or the twin does not start.
        """
        from llmops_kit.cli.pulumi_engine.engine import ensure

        engine = ensure()
        self.make_ready(say)
        self.link_project()
        # A short path, since it contains sockets, whose addresses have at most 107 characters.
        temporary = tempfile.mkdtemp(prefix="llmops-")
        self.temporary.append(Path(temporary))
        before = dict(os.environ)
        os.environ["TMPDIR"] = temporary
        try:
            self._twin.up(say, PACE)
        finally:
            become(before)
        self._guard.__enter__()
        own = {"PULUMI_SKIP_UPDATE_CHECK": "1", "VIRTUAL_ENV": sys.prefix, "TMPDIR": temporary}
        admin = scrubbed(os.environ) | engine.env | self._guard.environ | own | self._twin.environment()
        self.environs["admin"] = admin | {"PULUMI_CONFIG_PASSPHRASE": self._passphrase}
        self.cloud.require_loopback(self.environs["admin"])
        self._before = dict(os.environ)
        become(self.environs["admin"])

    def close(self, keep: bool = False) -> None:
        """Stops the twin and removes everything; with `keep` both the twin and the folder stay."""
        if self.meter:
            self.meter.stop()
        if self._before:
            become(self._before)
            self._guard.__exit__(None, None, None)
        if not keep:
            self._twin.down()
            for folder in (self.folder, *self.temporary):
                shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                self.folder.parent.rmdir()  # unless another rehearsal is there

    def log(self) -> str:
        """Returns the output of the twin's process."""
        try:
            return (self._twin.home / "twin.log").read_text(errors="replace")
        except OSError:
            return ""

    def take(self, label: str, identity: str) -> None:
        """Makes commands of `label` run under a role that trusts GitHub's workflows."""
        changed = {**self.environs["admin"], **self._twin.take(identity)}
        self.environs[label] = {name: value for name, value in changed.items() if value is not None}
        self.know({label: identity})

    def know(self, roles: Mapping[str, str]) -> None:
        """Stores roles by their label, and denies them what `--without` names."""
        self.roles |= {label: self._twin.name_of(identity) for label, identity in roles.items()}
        for label, action in self._without:
            if label in roles:
                self.deny(label, action)

    def deny(self, label: str, action: str) -> None:
        """Denies an action to a role, whatever its policies allow."""
        self._twin.deny(self.roles[label], action)

    def give_back(self, label: str, action: str) -> None:
        self._twin.give_back(self.roles[label], action)

    def forget_accesses(self) -> None:
        """Clears the record of used permissions."""
        self._twin.ask("recorded", "DELETE")

    def accesses(self) -> list[PermissionCheck]:
        """Returns the permissions that roles used since `forget_accesses`, each once."""
        names = {name: label for label, name in self.roles.items()}
        found = []
        for record in self._twin.ask("recorded")["recorded"]:
            role = self._twin.bearer(record["principal"])
            if role in names:
                found.append(PermissionCheck(names[role], record["action"], record["resource"], record["allowed"]))
        return found

    def policies(self) -> dict[str, list[dict[str, Any]]]:
        """Returns label -> the permissions of each role that still exists."""
        found = {label: self._twin.policies(name) for label, name in self.roles.items()}
        return {label: documents for label, documents in found.items() if documents is not None}

    def fault(self, kind: str, members: Mapping[str, Any]) -> None:
        """Injects a fault from now on."""
        self._twin.ask("faults", "PUT", {"kind": kind, **members})

    def fault_met(self, kind: str) -> bool:
        """Returns whether a fault has occurred. One that has occurred as often as requested is no longer listed."""
        left = self._twin.ask("faults").get(kind) or []
        return not left or any(fault["met"] for fault in left)

    def clear_faults(self) -> None:
        """Removes all faults."""
        self._twin.ask("faults", "DELETE")

    def unjudged(self) -> list[str]:
        """Returns the twin's own list of permissions and limits that it does not check."""
        return self._twin.ask("status")["not_judged"]

    def place(self) -> str:
        return f"a twin of {self.cloud.title} on this machine ({self.cloud.region})"

    def check_limits(self) -> None:
        """Checks that nothing left this machine; there are no costs here."""
        self._guard.require_quiet("before this step")
