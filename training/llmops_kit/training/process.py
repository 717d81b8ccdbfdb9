"""Settings to apply before torch, transformers and OpenVINO are imported: no network, no telemetry, fixed threads."""

import ctypes
import logging
import os
import platform
import signal
import sys
import warnings
from pathlib import Path

from llmops_kit.core.garbage import collect_garbage_rarely

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from malloc.h
_PR_SET_PDEATHSIG = 1  # from sys/prctl.h

# Variables of other launchers and platforms: only this program starts ranks, from resourceconfig.json, and the recipe
# determines how they compute.
_FOREIGN = ("ACCELERATE_", "FSDP_", "PET_", "TORCHELASTIC_", "OMPI_COMM_WORLD_", "PMI_", "MV2_COMM_WORLD_")
_FOREIGN_NAMES = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK"}

# A job uses no network: its inputs are its folders.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",  # the kit reports failures between ranks, without torch's stack of addresses
    # The kit compiles no model. bitsandbytes would, on machines with a C++ compiler; loading torch's compiler for it
    # takes a second of processor time.
    "TORCHDYNAMO_DISABLE": "1",
    # Waiting threads sleep instead of spinning: beside another busy process, steps were several times quicker.
    "OMP_WAIT_POLICY": "PASSIVE",
    # oneDNN keeps what it compiled for each shape of a product: 0.9 MB each, 1,024 of them by default. A step of a
    # model of one kind of layer needs 30, and a packed one 100 more for sequences of all lengths.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256",
}

# Without a consent file, openvino_telemetry sends usage data; if it can't be imported, OpenVINO uses its stub.
# `kernels` fetches compiled code from the hub for bitsandbytes, which warns if it is missing. The others are for
# images, for metrics that no recipe has, for rows that the kit reads itself, and for AWS accounts; transformers and
# accelerate import them if they are installed, which takes half a second of processor time.
_NEVER_IMPORTED = ("openvino_telemetry", "kernels", "torchvision", "sklearn", "datasets", "boto3")
_TALKATIVE = "bitsandbytes.backends.cpu.ops"


def prepare_process() -> None:
    """Configures environment, warnings and garbage collection; call it before the first heavy import."""
    collect_garbage_rarely()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _keep_memory()
    hide(*_NEVER_IMPORTED)
    warnings.filterwarnings("ignore")
    logging.getLogger(_TALKATIVE).setLevel(logging.ERROR)


def hide(*packages: str) -> None:
    """Makes packages look uninstalled to libraries that import them if they can; `show` reverts this for one."""
    for name in packages:
        sys.modules[name] = None  # type: ignore[assignment]


def show(package: str) -> None:
    """Makes a hidden package importable again."""
    if package in sys.modules and sys.modules[package] is None:
        del sys.modules[package]


def forget_other_launchers() -> None:
    """Removes environment variables that would make the libraries believe that they are ranks of another launcher's."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name in _FOREIGN_NAMES:
            del os.environ[name]


def die_with_parent() -> None:
    """Has the kernel kill this process when the process that started it ends."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the process that started this rank has gone")


def _keep_memory() -> None:
    """Makes glibc keep freed blocks: by default, each step returns its tensors to the kernel and faults them in again.

    Measured: saves a quarter of a step's processor time, for a few hundred MB.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def keep_quiet() -> None:
    """Silences progress, for ranks other than the one that reports it."""
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  kept until the process ends


def set_threads(threads: int) -> int:
    """Fixes torch's threads, because the order of sums, and so the last bits, depend on their number.

    Args:
        threads: 0 means all processors that this process may use.

    Returns:
        The number that was set.
    """
    import torch

    count = threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(count)
    return count


def say(**values: object) -> None:
    """Prints one progress line of key=value pairs, at once."""
    print(" ".join(f"{key}={value}" for key, value in values.items()), flush=True)
