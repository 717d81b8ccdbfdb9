"""Builds the images of a stack on this machine before an update."""

import os

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.stacks.stack import PulumiStack


def preflight(stack: PulumiStack, say: Say, *, dev: bool, make: bool) -> None:
    """Builds the images that run as processes, with progress, and creates the stack.

    Raises:
        KitError: an image can't be built.
    """
    del dev  # its state is always this machine's
    if not make:
        return
    settings = stack.file.settings("local_runtime", "endpoints")
    if settings.local_runtime == "process":
        from llmops_kit.local_runtime import process_images
        from llmops_kit.settings.resolved_local import resolve_local_stack

        for name in resolve_local_stack(settings, os.environ).images:
            process_images.build(name, say)
    stack.create()
