"""Estimates the memory of a server outside a container from its model and its machine: what it needs, and its limit.

- Weights are counted once, as stored: an engine maps their file, or holds them in 16 or 32 bits.
- A full batch's cache: `max_running` requests, each as long as the model's context (llmops_kit.core.models.gpu_fit).
- Programs: server, engine and checker with their libraries. A tiny model's took 0.2 GiB under OpenVINO.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmops_kit.core.engines.records import ENGINES
from llmops_kit.core.limits import AdmissionLimits, limit_variable
from llmops_kit.core.models.gpu_fit import cache_of

MACHINE_SHARE = 0.8
"""Maximum share of the machine's memory for one server or container."""
MIB = 1 << 20
_PROGRAMS = 256 * MIB
_USUAL_PROGRAMS = 1536 * MIB
_USUAL_PROGRAMS_ON_GPUS = 8192 * MIB
"""With CUDA's libraries and pinned memory; never held against a GPU."""
_GROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
"""Of the control group that a container sees as the root, versions 2 and 1, below /sys/fs/cgroup."""


@dataclass(frozen=True)
class ServerMemory:
    """Bytes of one server's processes."""

    needed: int
    """Weights and programs: with less, it can't start."""
    default: int
    """Limit if the stack sets none: room for a full batch, but at most MACHINE_SHARE of the machine, and at least what
    is needed.
    """


def server_memory(folder: Path, limits: Mapping[str, str], image: str, machine: int = 0) -> ServerMemory:
    """Estimates the memory of a server.

    Args:
        folder: of the model version.
        limits: the server's variables, as llmops_kit.core.limits names them.
        image: the kit's image, or a reference of it; vLLM's computes on GPUs, which then hold the cache.
        machine: bytes of the machine's memory; 0: this one's.
    """
    gpus = ENGINES["vllm"].image in image
    running = int(limits.get(limit_variable("max_running")) or AdmissionLimits().max_running)
    forms = (folder.glob("*.safetensors"), folder.glob("openvino/*.bin"))  # a server loads one of them
    weights = max(sum(path.stat().st_size for path in form) for form in forms)
    usual = _USUAL_PROGRAMS_ON_GPUS if gpus else _USUAL_PROGRAMS
    wanted = 2 * weights + usual + (0 if gpus else running * _request_cache(folder))
    needed = weights + _PROGRAMS
    most = int((machine or machine_memory()) * MACHINE_SHARE)
    return ServerMemory(needed, max(needed, min(wanted, most)))


def machine_memory() -> int:
    """Returns the bytes of memory that this machine, or the container that this process runs in, may use."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in _GROUP_LIMITS:
        try:
            found.append(int((Path("/sys/fs/cgroup") / name).read_text()))
        except (OSError, ValueError):  # no such group, or `max`
            continue
    return min(found)


def _request_cache(folder: Path) -> int:
    """Returns the bytes of the cache of the longest request; 0 if a model's config.json does not say it."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        return cache_of(config) * max(0, int(config.get("max_position_embeddings") or 0))
    except (OSError, ValueError, TypeError, AttributeError):
        return 0
