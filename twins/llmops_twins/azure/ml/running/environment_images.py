"""Resolves images of environment versions for this machine."""

import shutil

from llmops_kit.core.errors import HostingError
from llmops_kit.local_runtime import process_images
from llmops_twins.azure.registry import registry
from llmops_twins.azure.twin import TenantTwin

_PROCESS = "process:"


class ImageError(Exception):
    """Error for an image that can't run here; the text gives the reason and the fix."""


def runnable(twin: TenantTwin, image: str) -> tuple[str, list[str]]:
    """Returns the local runtime's reference of an image (`process:NAME@sha256:…` or
    `docker:HOST:PORT/REPOSITORY@sha256:…`), and the arguments that replace its CMD if the runtime does not supply it.

    Returns quickly, and may be called with the twin's lock held: pulling is left to
    `llmops_kit.local_runtime.runtimes.pull`. Callers check permissions first.

    Raises:
        ImageError: the image does not exist, or needs Docker and there is none.
    """
    if image.startswith(_PROCESS):
        try:
            process = process_images.find(image)
            return process.ref, list(process.command)
        except HostingError as e:
            # the twin's own: an image that stands for a process here
            raise ImageError(f"{e.what}; {e.fix}" if e.fix else e.what) from e
    found = registry.resolve(twin, image)
    if found is None:
        raise ImageError(f"the image {image} is in no registry of this twin: push it there")
    if not shutil.which("docker"):
        # the twin's own: Azure always has something to run it
        raise ImageError(f"{image} runs in Docker, which is not on this machine: install it, or give a process image")
    return f"docker:{found.pull_name}@{found.digest}", []
