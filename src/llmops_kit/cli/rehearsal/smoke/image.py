"""Builds another image of the same server, with one more file, so that its digest differs."""

import shutil
import tempfile
from pathlib import Path

from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.local_runtime.process_images import ImageSource

_PACKAGE = "llmops_kit/serving"


def other_image(stage: Stage) -> str:
    """Builds the image and pushes it to the stack's registry; returns its reference for the stack file.

    Raises:
        KitError: it can't be built or pushed.
    """
    from llmops_kit.cli.images.stack_images import publish

    with tempfile.TemporaryDirectory(prefix="llmops-") as folder:
        source = other_source(Path(folder))
        return publish(PulumiStack(Project(stage.world.project), stage.world.stack("dev")), source, stage.say)


def other_source(folder: Path) -> ImageSource:
    """Copies the server's package into a folder and adds a file; returns the source of an image with that copy."""
    own = ImageSource.of_kit("serving")
    copy = folder / "serving"
    shutil.copytree(own.packages[_PACKAGE], copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "smoke.txt").write_text("This file makes it another image.\n")
    return ImageSource(own.name, own.requirements, {**own.packages, _PACKAGE: copy})
