"""NVIDIA GPUs that a process may use, told without loading a driver or a library."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
MEMORY_SHARE = 0.9
"""Share of a GPU's memory that vLLM takes, for weights, activations and cache; plans reckon with it."""
_DEVICE_FILES = Path("/dev")
_SMI_SECONDS = 60.0  # the first call may have to load the driver


def hides_all(environ: Mapping[str, str]) -> bool:
    """Whether CUDA is told to use no GPU: https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables"""
    visible = environ.get(VISIBLE)
    return visible is not None and visible.partition(",")[0].strip() in ("", "-1")


def device_evidence() -> str:
    """What says that this machine has NVIDIA GPUs: a device file, or `nvidia-smi`; empty: nothing does."""
    if found := sorted(_DEVICE_FILES.glob("nvidia[0-9]*")):
        return str(found[0])
    return "nvidia-smi" if _smi_lists_any() else ""


def usable_gpus(environ: Mapping[str, str]) -> str:
    """What says that a process with this environment has a GPU; empty: it has none, or is told to use none."""
    return "" if hides_all(environ) else device_evidence()


def _smi_lists_any() -> bool:
    """Whether NVIDIA's tool lists a GPU: under WSL there is no device file."""
    if not (program := shutil.which("nvidia-smi")):
        return False
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=_SMI_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.startswith("GPU ")
