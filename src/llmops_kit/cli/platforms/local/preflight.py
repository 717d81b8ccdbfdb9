"""What a stack on this machine needs before an update: its images."""

import os

from llmops_kit.cli.platforms.platform import Say
from llmops_kit.cli.stacks.stack import PulumiStack


def preflight(stack: PulumiStack, say: Say, *, dev: bool, make: bool) -> None:
    """Build the images that run as processes, with progress shown, and make the stack.

    Raises:
        KitError: an image can't be built.
    """
    del dev  # its state is always this machine's
    if not make:
        return
    if stack.file.config().get("local_runtime", "process") == "process":
        from llmops_kit.hosting import images

        serving = {
            images.serving_image(str(entry.get("engine", "auto")), "process", os.environ)
            for entry in stack.file.endpoints().values()
        }
        for name in ("training", *sorted(serving)):
            images.build(name, say)
    stack.create()
