"""Table of the clouds' machines for training estimates: GPUs and memory. Prices are in prices.json.

Memory, and dense tensor throughput without sparsity, by NVIDIA's data sheets: A10, A10G (AWS:
https://aws.amazon.com/ec2/instance-types/g5/), L4, L40S, T4, V100, A100, H100, H200
(https://www.nvidia.com/data-center).
Instances: https://aws.amazon.com/ec2/instance-types/#Accelerated_Computing, and
https://learn.microsoft.com/azure/virtual-machines/sizes/overview#gpu-accelerated. Machines without GPUs:
https://aws.amazon.com/ec2/instance-types/, https://learn.microsoft.com/azure/virtual-machines/sizes/overview.
"""

from dataclasses import dataclass

_GB = 10**9  # less than a driver leaves of a data sheet's GiB


@dataclass(frozen=True)
class Gpu:
    """A GPU that clouds offer: its memory, and its peak throughput by NVIDIA's data sheet."""

    name: str
    gigabytes: int
    bf16_tflops: float | None
    """None if it has no bf16 in hardware, so that `precision: auto` uses f32."""
    f32_tflops: float

    @property
    def memory(self) -> int:
        """Its memory in bytes; `gigabytes` counts 10**9."""
        return self.gigabytes * _GB

    def tflops(self, precision: str) -> float | None:
        """Returns the peak throughput in 10**12 operations per second."""
        return self.bf16_tflops if precision == "bf16" else self.f32_tflops


T4 = Gpu("T4", 16, None, 8.1)
V100 = Gpu("V100", 16, None, 15.7)
A10 = Gpu("A10", 24, 125, 31.2)
A10G = Gpu("A10G", 24, 70, 31.2)
L4 = Gpu("L4", 24, 121, 30.3)
L40S = Gpu("L40S", 48, 362, 91.6)
A100_40 = Gpu("A100", 40, 312, 19.5)
A100_80 = Gpu("A100", 80, 312, 19.5)
H100 = Gpu("H100", 80, 989, 67)
H100_NVL = Gpu("H100 NVL", 94, 835, 60)
H200 = Gpu("H200", 141, 989, 67)

_G_SIZES = {"xlarge": 1, "2xlarge": 1, "4xlarge": 1, "8xlarge": 1, "16xlarge": 1, "12xlarge": 4, "24xlarge": 4}
_AWS: dict[str, tuple[Gpu, int]] = {
    **{f"ml.g4dn.{size}": (T4, count) for size, count in _G_SIZES.items() if size != "24xlarge"},
    **{f"ml.g5.{size}": (A10G, count) for size, count in (_G_SIZES | {"48xlarge": 8}).items()},
    **{f"ml.g6.{size}": (L4, count) for size, count in (_G_SIZES | {"48xlarge": 8}).items()},
    **{f"ml.g6e.{size}": (L40S, count) for size, count in (_G_SIZES | {"48xlarge": 8}).items()},
    "ml.p3.2xlarge": (V100, 1),
    "ml.p3.8xlarge": (V100, 4),
    "ml.p3.16xlarge": (V100, 8),
    "ml.p4d.24xlarge": (A100_40, 8),
    "ml.p4de.24xlarge": (A100_80, 8),
    "ml.p5.48xlarge": (H100, 8),
    "ml.p5e.48xlarge": (H200, 8),
    "ml.p5en.48xlarge": (H200, 8),
}
_AZURE: dict[str, tuple[Gpu, int]] = {
    "Standard_NC4as_T4_v3": (T4, 1),
    "Standard_NC8as_T4_v3": (T4, 1),
    "Standard_NC16as_T4_v3": (T4, 1),
    "Standard_NC64as_T4_v3": (T4, 4),
    "Standard_NC6s_v3": (V100, 1),
    "Standard_NC12s_v3": (V100, 2),
    "Standard_NC24s_v3": (V100, 4),
    "Standard_NV36ads_A10_v5": (A10, 1),
    "Standard_NV72ads_A10_v5": (A10, 2),
    "Standard_NC24ads_A100_v4": (A100_80, 1),
    "Standard_NC48ads_A100_v4": (A100_80, 2),
    "Standard_NC96ads_A100_v4": (A100_80, 4),
    "Standard_ND96asr_v4": (A100_40, 8),
    "Standard_ND96amsr_A100_v4": (A100_80, 8),
    "Standard_NC40ads_H100_v5": (H100_NVL, 1),
    "Standard_NC80adis_H100_v5": (H100_NVL, 2),
    "Standard_ND96isr_H100_v5": (H100, 8),
    "Standard_ND96isr_H200_v5": (H200, 8),
}
_GIB = 1 << 30
_CPU_GIB = {
    **{f"ml.m5.{size}": gib for size, gib in (("large", 8), ("xlarge", 16), ("2xlarge", 32), ("4xlarge", 64))},
    **{f"ml.m5.{size}": gib for size, gib in (("12xlarge", 192), ("24xlarge", 384))},
    **{f"ml.c5.{size}": gib for size, gib in (("xlarge", 8), ("2xlarge", 16), ("4xlarge", 32), ("9xlarge", 72))},
    "ml.c5.18xlarge": 144,
    **{f"ml.r5.{size}": gib for size, gib in (("large", 16), ("xlarge", 32), ("2xlarge", 64), ("4xlarge", 128))},
    **{f"Standard_DS{n}_v2": gib for n, gib in ((2, 7), (3, 14), (4, 28), (5, 56))},
    **{f"Standard_D{n}s_v3": 4 * n for n in (2, 4, 8, 16)},
    **{f"Standard_E{n}s_v3": 8 * n for n in (2, 4, 8, 16)},
    **{f"Standard_F{n}s_v2": 2 * n for n in (2, 4, 8, 16)},
}


@dataclass(frozen=True)
class MachineType:
    """A type of machine offered by a cloud."""

    name: str
    gpu: Gpu | None
    gpus: int
    memory: int
    """Bytes of each GPU, or of a machine without one."""


def find_type(name: str) -> MachineType | None:
    """Returns a machine type by its cloud's name; None if it is not in the table."""
    known = {each.lower(): each for each in (*_AWS, *_AZURE, *_CPU_GIB)}.get(name.lower(), "")
    if known in _CPU_GIB:
        return MachineType(known, None, 0, _CPU_GIB[known] * _GIB)
    if known:
        gpu, count = (_AWS | _AZURE)[known]
        return MachineType(known, gpu, count, gpu.memory)
    return None


def gpu_types(azure: bool) -> list[MachineType]:
    """Returns all GPU machines of a cloud."""
    return [MachineType(name, gpu, count, gpu.memory) for name, (gpu, count) in (_AZURE if azure else _AWS).items()]
