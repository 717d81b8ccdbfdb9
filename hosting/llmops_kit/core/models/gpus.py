"""NVIDIA GPUs that a process can use, found without loading a driver or a library."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

VISIBLE = "CUDA_VISIBLE_DEVICES"
MEMORY_SHARE = 0.9
"""Share of a GPU's memory that vLLM takes, for weights, activations and cache; plans calculate with it."""
_DEVICE_FILES = Path("/dev")
_SMI_SECONDS = 60.0  # the first call may have to load the driver


def hides_all(environ: Mapping[str, str]) -> bool:
    """Returns whether the environment hides every GPU from CUDA:
    https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables
    """
    visible = environ.get(VISIBLE)
    return visible is not None and visible.partition(",")[0].strip() in ("", "-1")


def device_evidence() -> str:
    """Returns the evidence of NVIDIA GPUs on this machine: a device file, or `nvidia-smi`; empty: none."""
    if found := sorted(_DEVICE_FILES.glob("nvidia[0-9]*")):
        return str(found[0])
    return "nvidia-smi" if _smi_lists_any() else ""


def usable_gpus(environ: Mapping[str, str]) -> str:
    """Returns the evidence that a process with this environment has a GPU; empty: none, or it is hidden."""
    return "" if hides_all(environ) else device_evidence()


class GpuMemory(Protocol):
    """Properties of a kind of GPU for the choice of machines."""

    @property
    def name(self) -> str:
        """The model's name, such as A10G."""
        ...

    @property
    def memory(self) -> int:
        """The memory of one GPU, in bytes."""
        ...


class InstalledGpu(NamedTuple):
    """A GPU of this machine, by its driver: name, and memory in bytes."""

    name: str
    memory: int


def installed_gpus(environ: Mapping[str, str]) -> list[InstalledGpu]:
    """Returns the GPUs that a process with this environment may use, as nvidia-smi lists them; empty if it fails.

    https://docs.nvidia.com/deploy/nvidia-smi/index.html
    """
    if hides_all(environ):
        return []
    found = []
    for line in _ask_smi("--query-gpu=name,memory.total", "--format=csv,noheader,nounits").splitlines():
        name, _, mebibytes = line.rpartition(",")
        if mebibytes.strip().isdigit():
            found.append(InstalledGpu(name.strip(), int(mebibytes) << 20))
    visible = [each.strip() for each in environ.get(VISIBLE, "").split(",") if each.strip()]
    if visible and all(each.isdigit() and int(each) < len(found) for each in visible):
        return [found[int(each)] for each in visible]
    return found[: len(visible)] if visible else found  # by UUID: the GPUs of a machine are alike


def _smi_lists_any() -> bool:
    """Returns whether nvidia-smi lists a GPU: under WSL there is no device file."""
    return _ask_smi("-L").startswith("GPU ")


def _ask_smi(*arguments: str) -> str:
    """Returns the output of nvidia-smi; empty if it is missing or fails."""
    if not (program := shutil.which("nvidia-smi")):
        return ""
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=_SMI_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
