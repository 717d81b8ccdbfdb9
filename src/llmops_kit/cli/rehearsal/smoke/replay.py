"""Compares a recording of a cloud with its twin, on which the same smoke test runs and is recorded too."""

import os
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.rehearsal.cloud import Cloud
from llmops_kit.cli.rehearsal.smoke import recordings
from llmops_kit.cli.rehearsal.smoke.recordings import Difference
from llmops_kit.cli.rehearsal.smoke.smoke import Smoke, SmokeOptions
from llmops_kit.cli.rehearsal.world import become, scrubbed
from llmops_kit.cli.stacks.project import Project
from llmops_kit.core.errors import KitError

_PACE = 0.05  # seconds of a status change of the twin


def replay(
    cloud: Cloud, project: Project, recording: Path, against: Path | None, console: Console, say: Say
) -> list[Difference]:
    """Compares a recording with the twin, or with an earlier recording of the twin.

    Raises:
        KitError: one is not a recording of this cloud, or the smoke test fails on the twin.
    """
    theirs = recordings.read(recording, cloud.target)
    ours = recordings.read(against, cloud.target) if against else _recorded_on_twin(cloud, project, console, say)
    return recordings.differences(theirs, ours)


def _recorded_on_twin(cloud: Cloud, project: Project, console: Console, say: Say) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="llmops-") as temporary:
        folder = Path(temporary)
        to, twin, before = folder / "recording.json", cloud.twin(folder / "twin"), dict(os.environ)
        project.link_into(folder / "project")  # a smoke test that has not ended is left alone
        twin.up(say, _PACE)
        try:
            become(scrubbed(os.environ) | twin.environment())
            options = SmokeOptions(report=folder / "report", record=to)
            done = Smoke(cloud, Project(folder / "project"), options).run(console)
        finally:
            become(before)
            twin.down()
        if failed := done.failed:
            what = failed.error.what if failed.error else "stopped"
            raise KitError(
                f"the smoke test failed on the twin, in {failed.step.id}: {what}",
                where=f"a twin of {cloud.title}",
                fix=f"`llmops rehearse {cloud.target}` shows the details",
            )
        return recordings.read(to, cloud.target)
