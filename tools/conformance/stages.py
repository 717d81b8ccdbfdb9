"""Worlds of the targets: this machine, or a cloud's twin; removed at the end."""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.rehearsal.clouds import find_cloud
from llmops_kit.cli.rehearsal.rehearsal_twin import TwinWorld
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.rehearsal.world import World, become, scrubbed
from llmops_kit.cli.stacks.backend import folder_url
from llmops_kit.cli.stacks.project import Project
from llmops_kit.clouds.targets import TARGETS, cloud_names
from llmops_kit.core.errors import require_packages

STACK = "dev"


class LocalWorld(World):
    """This machine, with its own project and state. Its cloud is not used."""

    def open(self, say: Say) -> None:
        """Copies the project, and fetches prerequisites."""
        from llmops_kit.cli.pulumi_engine.engine import ensure

        engine = ensure()
        self.make_ready(say)
        self.source.link_into(self.project)
        state = self.folder / "state"
        state.mkdir()
        own = {"PULUMI_BACKEND_URL": folder_url(state), "PULUMI_CONFIG_PASSPHRASE": "", "VIRTUAL_ENV": sys.prefix}
        environ = scrubbed(os.environ) | engine.env | own | {"PULUMI_SKIP_UPDATE_CHECK": "1"}
        self.environs = dict.fromkeys(("admin", "deploy"), environ)
        self._before = dict(os.environ)
        become(environ)

    def close(self, keep: bool = False) -> None:
        """Removes the folder; the stack was taken down before."""
        if self._before:
            become(self._before)
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()


def world_of(target: str, project: Project, folder: Path) -> World:
    """Returns the world of a target, not opened yet.

    Raises:
        KitError: there is no such target, or its packages are missing.
    """
    if not TARGETS[target].is_cloud:
        return LocalWorld(find_cloud(cloud_names()[0]), project, folder)
    cloud = find_cloud(target)
    require_packages(*cloud.extra)
    return TwinWorld(cloud, project, folder, keep=False)


def settings_of(target: str, stage: Stage) -> dict[str, Any]:
    """Returns the settings of the stack file: the target, and on a cloud its region or location."""
    return {"target": target} | ({target: stage.cloud.settings()} if TARGETS[target].is_cloud else {})
