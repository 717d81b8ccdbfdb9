"""The image `trainee`, which executes the code that a test gives it."""

import functools
from pathlib import Path

from llmops_kit.local_runtime.process_images import ImageSource, build


@functools.cache
def trainee() -> str:
    """The reference of the image, built once."""
    folder = Path(__file__).parent / "trainee"
    return build(ImageSource("trainee", folder / "requirements.txt", {"trainee": folder}))
