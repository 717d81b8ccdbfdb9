"""Facts of a cloud by which a stack's settings are resolved: machines, images, and the bake time of rollouts."""

from collections.abc import Callable
from dataclasses import dataclass

PROCESS_IMAGE = "process:serving"
"""The kit's image `serving` when it runs as a process."""


@dataclass(frozen=True)
class CloudTraits:
    """A cloud's facts; instance types are in its notation."""

    bake_seconds: int
    """Seconds for which a new version is watched, unless its endpoint sets it."""
    has_gpus: Callable[[str], bool]
    """Returns whether an instance type has NVIDIA GPUs, on which vLLM runs."""
    is_accelerated: Callable[[str], bool]
    """Returns whether an instance type has GPUs or other accelerators, for which it is billed."""
    plain_type: str
    """An instance type without accelerators, for error messages."""
    gpu_type: str
    """An instance type with NVIDIA GPUs, for error messages."""
    is_the_kits: Callable[[str, str, str], bool]
    """Returns whether an image is the one that `llmops images` builds and pushes as `serving`, by its reference, the
    stack's given registry, and the name of the stack's own repository.
    """
