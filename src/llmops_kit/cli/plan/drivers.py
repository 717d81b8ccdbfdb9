"""The NVIDIA drivers that clouds document for machines with GPUs, compared with what the kit's images need."""

from collections.abc import Iterable
from dataclasses import dataclass

from llmops_kit.cli.interfaces.endpoint_plans import EndpointPlan
from llmops_kit.cli.interfaces.quotas import Machines
from llmops_kit.clouds.targets import TARGETS, load
from llmops_kit.settings.resolved import ResolvedStack

_NEEDED = 580
"""Of CUDA 13, which the kit's images for GPUs have:
https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/#cuda-driver
"""
# ProductionVariant.InferenceAmiVersion of botocore's model of SageMaker, and
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProductionVariant.html
_OF_HOST_IMAGES = {
    "al2-ami-sagemaker-inference-gpu-2": 535,
    "al2-ami-sagemaker-inference-gpu-2-1": 535,
    "al2-ami-sagemaker-inference-gpu-3-1": 550,
    "al2023-ami-sagemaker-inference-gpu-4-1": 580,
}
# Endpoints without a host image: https://docs.aws.amazon.com/sagemaker/latest/dg/inference-gpu-drivers.html
_OF_FAMILIES = {
    **dict.fromkeys(("ml.p2", "ml.p3", "ml.p4d", "ml.p4de", "ml.g4dn", "ml.g5"), 470),
    **dict.fromkeys(("ml.p5", "ml.g6"), 535),
    **dict.fromkeys(("ml.p5e", "ml.p5en"), 550),
}
_COMPATIBLE = "an image on a base with NVIDIA's forward-compatibility libraries may start on an older one"


@dataclass(frozen=True)
class HostDriver:
    """The NVIDIA driver of machines."""

    what: str
    """Who computes there: `endpoint chatbot` or `training job`."""
    instance_type: str
    version: int | None
    """Its major version; None: the cloud documents none."""
    host: str = ""
    """The image of the hosts that is asked for; empty: the cloud's default."""
    kits_image: bool = True
    """Whether an image of the kit runs there. What a user's image needs is unknown."""

    @property
    def words(self) -> str:
        """The driver, as a line of the plan."""
        host = self.host or "default host image"
        driver = f"NVIDIA driver {self.version}" if self.version else "an NVIDIA driver that is not documented"
        return f"{self.what}: {self.instance_type} has {driver} ({host})"

    @property
    def warning(self) -> str:
        """A driver that is too old or unknown, in words; empty: it is new enough."""
        if not self.kits_image:
            return ""
        if self.version is None:
            return (
                f"{self.what}: no NVIDIA driver is documented for {self.instance_type}; CUDA 13 of the kit's images "
                f"needs {_NEEDED}: try one short run or endpoint first; {_COMPATIBLE}"
            )
        if self.version >= _NEEDED:
            return ""
        ami = next(name for name, version in _OF_HOST_IMAGES.items() if version >= _NEEDED)
        return f"{self.words}; CUDA 13 of the kit's images needs {_NEEDED}: set `inference_ami_version: {ami}`"


def host_drivers(
    endpoints: Iterable[EndpointPlan], runs: Iterable[Machines], resolved: ResolvedStack
) -> list[HostDriver]:
    """Returns the drivers of a stack's machines with NVIDIA GPUs.

    Args:
        endpoints: of the plan.
        runs: the machines of its runs, for which no cloud documents a driver.
        resolved: the stack's settings.
    """
    has_gpus = load(TARGETS[resolved.settings.target].traits).has_gpus
    own = {name for name, each in resolved.endpoints.items() if each.image_field != "serving_vllm"}
    found = [
        HostDriver(
            f"endpoint {each.name}", each.instance_type, _documented(each), each.host_image, each.name not in own
        )
        for each in endpoints
        if has_gpus(each.instance_type)
    ]
    return found + [HostDriver(use, kind, None) for use, kind in runs if has_gpus(kind)]


def _documented(endpoint: EndpointPlan) -> int | None:
    if endpoint.host_image:
        return _OF_HOST_IMAGES.get(endpoint.host_image)
    return _OF_FAMILIES.get(endpoint.instance_type.rpartition(".")[0])
