"""Builds another image of the same server, with one more file, so that its digest differs."""

import shutil
import tempfile
from pathlib import Path

from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack


def other_image(stage: Stage) -> str:
    """Builds the image and pushes it to the stack's registry; returns its reference for the stack file.

    Raises:
        KitError: it can't be built or pushed.
    """
    from llmops_kit.cli.images.stack_images import publish
    from llmops_kit.local_runtime.process_images import ImageSource

    own = ImageSource.of_kit("serving")
    with tempfile.TemporaryDirectory(prefix="llmops-") as temporary:
        folder = Path(temporary) / "serving"
        shutil.copytree(own.packages["serving"], folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "smoke.txt").write_text("This file makes it another image.\n")
        source = ImageSource(own.name, own.requirements, {**own.packages, "llmops_kit/serving": folder})
        return publish(PulumiStack(Project(stage.world.project), stage.world.stack("dev")), source, stage.say)
