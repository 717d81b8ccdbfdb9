"""What a stack's settings resolve with on a cloud: its machines, its images, and how long it watches a rollout."""

from collections.abc import Callable
from dataclasses import dataclass

PROCESS_IMAGE = "process:serving"
"""The kit's image `serving` where a process stands for it."""


@dataclass(frozen=True)
class CloudTraits:
    """A cloud's facts; instance types are its own words."""

    bake_seconds: int
    """For which a new version is watched if its endpoint does not say."""
    has_gpus: Callable[[str], bool]
    """Whether an instance type has NVIDIA GPUs, which vLLM computes on."""
    is_accelerated: Callable[[str], bool]
    """Whether an instance type is paid for GPUs or other accelerators."""
    plain_type: str
    """An instance type without them, to name in a refusal."""
    gpu_type: str
    """One with NVIDIA GPUs."""
    is_the_kits: Callable[[str, str, str], bool]
    """Whether an image is what `llmops images` builds and pushes as `serving`, by its reference, the registry that the
    stack was given, and the name of the stack's own repository.
    """
