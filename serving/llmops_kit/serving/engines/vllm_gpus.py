"""Chooses the number of this machine's GPUs on which vLLM computes a version: one, unless its weights need more."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmops_kit.core.models.gpu_fit import gpu_fit
from llmops_kit.core.models.gpus import installed_gpus


@dataclass(frozen=True)
class GpuChoice:
    """A number of GPUs and the reason for it, in words."""

    gpus: int
    why: str


def choose_gpus(config: bytes | None, stored: int, precision: str, environ: Mapping[str, str]) -> GpuChoice:
    """Chooses vLLM's tensor parallel size.

    Args:
        config: the version's config.json, if it has one.
        stored: bytes of its safetensors.
        precision: the setting.
        environ: this process's environment, which may hide GPUs.
    """
    found = installed_gpus(environ)
    if not found:
        return GpuChoice(1, "nvidia-smi reports no GPU")
    try:
        values = json.loads(config or b"")
    except ValueError:
        values = None
    smallest = min(found, key=lambda gpu: gpu.memory)
    fit = gpu_fit(values, stored, smallest, precision, len(found)) if isinstance(values, dict) else None
    if fit is None:
        return GpuChoice(1, "the kit can't calculate the cache of this kind of model")
    return GpuChoice(fit.gpus, fit.words)


def choose_for_folder(model: Path, precision: str, environ: Mapping[str, str]) -> GpuChoice:
    """Chooses for a folder whose files were not verified, only for `--explain`."""
    path = model / "config.json"
    stored = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    return choose_gpus(path.read_bytes() if path.is_file() else None, stored, precision, environ)
