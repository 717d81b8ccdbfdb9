"""What the training image says to whoever starts it."""

import re

from tests.support.checkout import CHECKOUT

DOCKERFILE = CHECKOUT / "training/llmops_kit/training/Dockerfile"


def test_nvidias_runtime_gives_a_container_its_gpus() -> None:
    """It goes by these variables; CUDA's base images say them, and this one's base is none.

    https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
    """
    said = dict(re.findall(r"(NVIDIA_\w+)=(\S+)", DOCKERFILE.read_text()))
    assert said == {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
