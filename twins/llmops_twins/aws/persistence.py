"""Saves a twin's state in its folder: the twin's documents and moto's backends as parts of its log, and S3's bodies as
files beside it.

The folder belongs to one user (0700). Bodies are written before the log that references them, and removed after the log
that no longer does, so that a process killed at any moment leaves a consistent state.
"""

import platform
from collections.abc import Mapping
from importlib.metadata import version

from llmops_twins.aws.object_bodies import BODIES
from llmops_twins.aws.pickles import StatePickles
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core.persistence import Keeper

_SCHEMA = "twin-state/3"


class AwsKeeper(Keeper):
    """Saves the state of a twin soon after each change, and loads it."""

    folders = (BODIES,)

    def __init__(self, twin: AccountTwin) -> None:
        python = ".".join(platform.python_version_tuple()[:2])
        super().__init__(twin, {"schema": _SCHEMA, "python": python, "moto": version("moto")}, "twins aws reset")
        self._twin = twin
        self._folder = twin.home / BODIES
        self._pickles = StatePickles(self._folder)
        self._used: set[str] | None = None  # the bodies at the last save; None: not known
        self._unused: set[str] = set()

    def save(self) -> None:
        """Saves now what has changed since the last save, and removes the bodies of objects that are gone."""
        super().save()
        for name in self._unused:
            (self._folder / name).unlink(missing_ok=True)

    def _copied(self) -> dict[str, bytes]:
        parts = self._pickles.pickled(self._twin.state)
        if self._used is None:  # looked up here, because others add files with the lock held
            self._used = {path.name for path in self._folder.glob("[!.]*")}
        self._unused = self._used - self._pickles.bodies
        self._used = self._pickles.bodies
        return parts

    def _take(self, parts: Mapping[str, bytes]) -> None:
        self._used = None
        self._twin.state.update(self._pickles.unpickled(parts))
