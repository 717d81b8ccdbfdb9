"""Chooses the precision in which OpenVINO computes on this machine's CPU."""

from typing import Any


def cpu_precision(core: Any, asked: str) -> str:
    """Returns the CPU's precision: the requested one, or the plugin's default.

    Raises:
        ValueError: bf16 was requested, and the processor does not support it.
    """
    if asked == "auto":
        return core.get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
    if asked == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ValueError("this processor has no bf16: use precision auto or f32")
    return asked
