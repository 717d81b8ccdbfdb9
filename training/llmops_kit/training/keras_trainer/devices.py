"""TensorFlow's devices: which of them train, in which precision, and with how many threads."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from llmops_kit.core.errors import KitError
from llmops_kit.core.models.gpus import device_evidence, hides_all
from llmops_kit.training.devices import Precision

_ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_DETERMINISTIC_OPS": "1",
    "USE_TORCH": "0",  # only transformers' tokenizers are used
}
_CPUINFO = Path("/proc/cpuinfo")
_BF16 = ("avx512_bf16", "amx_bf16")


def prepare_tensorflow(environ: Mapping[str, str], threads: int) -> None:
    """Configures TensorFlow before its first operation: threads, and deterministic operations.

    Args:
        environ: of the job's first process.
        threads: the recipe's; 0 means all processors that this process may use.

    Raises:
        KitError: the machine has GPUs that this TensorFlow can't use: on its processors the job would take days, at
            the price of the GPUs.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import keras  # pyright: ignore[reportMissingImports]
    import tensorflow as tf  # pyright: ignore[reportMissingModuleSource]

    found = "" if hides_all(environ) else device_evidence()
    if found and not tf.config.list_physical_devices("GPU"):
        raise KitError(
            "this machine has GPUs, and the image's TensorFlow is a build for processors",
            where=found,
            fix="take a machine without GPUs, or build the image from a lock with tensorflow[and-cuda] in the place of "
            "tensorflow-cpu (requirements/training-tensorflow.in)",
        )
    count = threads or len(os.sched_getaffinity(0))
    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)  # random numbers without a seed are an error otherwise


def device_names() -> list[str]:
    """Returns the devices that train: this machine's GPUs, or its processors, which are one unless they were split."""
    import tensorflow as tf  # pyright: ignore[reportMissingModuleSource]

    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return [device.name for device in tf.config.list_logical_devices(kind)]


def strategy_on(devices: Sequence[str]) -> Any:
    """Returns tf.distribute's strategy: weights on each of several devices, which share every batch's rows."""
    import tensorflow as tf  # pyright: ignore[reportMissingModuleSource]

    return tf.distribute.MirroredStrategy(list(devices)) if len(devices) > 1 else tf.distribute.get_strategy()


def compute_precision(asked: Literal["auto", "bf16", "f32"]) -> Precision:
    """Returns the precision that a recipe asks for; `auto` is bf16 where the device multiplies it in hardware."""
    import tensorflow as tf  # pyright: ignore[reportMissingModuleSource]

    if asked != "auto":
        return asked
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:  # from NVIDIA's Ampere on
        capable = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus]
        return "bf16" if min(capable) >= (8, 0) else "f32"
    flags = _CPUINFO.read_text().split() if _CPUINFO.exists() else []
    return "bf16" if any(flag in flags for flag in _BF16) else "f32"
