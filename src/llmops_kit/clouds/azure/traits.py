"""Facts of Azure by which settings are resolved."""

import re

from llmops_kit.clouds.traits import PROCESS_IMAGE, CloudTraits

_BAKE_SECONDS = 300
"""Azure Monitor's metrics are per minute, and delayed: within the 30 s of target local there would be none."""
# The N family: https://learn.microsoft.com/azure/virtual-machines/sizes/overview
_ACCELERATED = re.compile(r"^Standard_N[A-Z]", re.IGNORECASE)
# NVv4, NGads V620, NVads V710 v5 and ND MI300X v5 have GPUs of AMD:
# https://learn.microsoft.com/azure/virtual-machines/sizes/overview#gpu-accelerated
_AMD = re.compile(r"^Standard_(NV\d+as_v4|NG\d+\w*|NV\d+\w*_V710_v\d+|ND\d+\w*_MI\d+X_v\d+)$", re.IGNORECASE)


def has_amd_gpus(vm_size: str) -> bool:
    """Returns whether a VM size has GPUs of AMD, on which no image of the kit computes."""
    return bool(_AMD.match(vm_size))


def _has_gpus(vm_size: str) -> bool:
    return _is_accelerated(vm_size) and not has_amd_gpus(vm_size)


def _is_accelerated(vm_size: str) -> bool:
    return bool(_ACCELERATED.match(vm_size))


def _is_the_kits(image: str, _registry: str, _repository: str) -> bool:
    host, _, name = image.partition("@")[0].partition("/")
    return name == "serving" if name else host == PROCESS_IMAGE


TRAITS = CloudTraits(
    _BAKE_SECONDS, _has_gpus, _is_accelerated, "Standard_F8s_v2", "Standard_NC24ads_A100_v4", _is_the_kits
)
