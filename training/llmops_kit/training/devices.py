"""The device on which a job trains and evaluates, and the precision of its computations."""

import gc
import re
from collections.abc import Mapping
from typing import Any, Literal

from llmops_kit.core.errors import KitError
from llmops_kit.core.models.gpus import VISIBLE, device_evidence, hides_all
from llmops_kit.core.twins import TWIN_ACCOUNT

Precision = Literal["bf16", "f32"]

_GPU_INSTANCE = re.compile(r"^ml\.(g|p)r?\d")  # https://aws.amazon.com/ec2/instance-types/#Accelerated_Computing
# https://learn.microsoft.com/azure/machine-learning/how-to-debug-parallel-run-step#cuda-devices-visibility
_AZURE_COUNT = "AZ_BATCHAI_GPU_COUNT_FOUND"


def count_gpus(environ: Mapping[str, str], instance_type: str = "") -> int:
    """Counts the NVIDIA GPUs that this process may use. Imports torch, which takes seconds, only if there are any.

    Args:
        environ: of the job's first process.
        instance_type: SageMaker's name for this machine; empty where the platform gives none.

    Raises:
        KitError: the machine has GPUs and torch can't use them. On its processors the job would take days, at the price
            of the GPUs.
    """
    if hides_all(environ):
        return 0
    evidence = _evidence(environ, instance_type)
    if not evidence:
        return 0
    import torch

    if torch.cuda.is_available():
        return torch.cuda.device_count()
    reason, fix = _why_unusable()
    raise KitError(f"this machine has GPUs that torch can't use: {reason}", where=evidence, fix=fix)


def best_device() -> Any:
    """Returns this process's GPU, or the processor without one, as a torch.device."""
    import torch

    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def precision_on(device: Any, asked: Literal["auto", "bf16", "f32"]) -> Precision:
    """Returns the precision that a recipe asks for; `auto` is bf16 where the device multiplies it in hardware.

    Elsewhere bf16 is emulated, and slower than f32.
    """
    import torch

    if asked != "auto":
        return asked
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "f32"


def release_memory() -> None:
    """Frees objects in reference cycles, and a GPU's unused blocks; call it before another model is loaded. In bf16,
    accelerate makes a trained model part of a reference cycle.
    """
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def torch_dtype(precision: Precision) -> Any:
    """Returns torch.bfloat16 or torch.float32."""
    import torch

    return {"bf16": torch.bfloat16, "f32": torch.float32}[precision]


def _evidence(environ: Mapping[str, str], instance_type: str) -> str:
    """Returns the evidence that this machine has NVIDIA GPUs; empty if there is none."""
    # The jobs of an AWS twin run on this machine, whatever their instance type.
    if _GPU_INSTANCE.match(instance_type) and f":{TWIN_ACCOUNT}:" not in environ.get("TRAINING_JOB_ARN", ""):
        return f"instance type {instance_type}"
    if (count := environ.get(_AZURE_COUNT, "")).isdecimal() and int(count):
        return f"{_AZURE_COUNT}={count}"
    return device_evidence()


def _why_unusable() -> tuple[str, str]:
    """Returns why torch has no CUDA on a machine with GPUs, and the fix."""
    import torch

    fewer = f"or take a machine without GPUs (on your own: {VISIBLE}=-1 hides them)"
    if not torch.version.cuda:
        return (
            f"torch {torch.__version__} is a build without CUDA",
            f"install the build of requirements/training.txt (`llmops images push training`), {fewer}",
        )
    try:
        torch.cuda.init()
        reason = "CUDA starts, and lists no GPU"
    except Exception as e:  # RuntimeError, or AssertionError of a broken build
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0].partition(". ")[0]
    if "too old" in reason:
        fix = f"update the host's NVIDIA driver to one for CUDA {torch.version.cuda}"
    elif "no NVIDIA driver" in reason:
        fix = (
            "rebuild the image, which sets NVIDIA_VISIBLE_DEVICES and NVIDIA_DRIVER_CAPABILITIES "
            "(`llmops images push training`), and check that the host's driver is loaded (`nvidia-smi`)"
        )
    else:
        fix = "see what `nvidia-smi` says on that host"
    return reason, f"{fix}, {fewer}"
