"""The branch of the PyTorch trainer that a GPU takes, on the processor. Imports torch and transformers."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from llmops_kit.training.torch_trainer.scaled_trainer import ScaledTrainer

MEMORY = 1 << 30


def take_gpu_branch(set_attribute: Callable[[Any, str, Any], None], lacks: str = "", times: int = 1) -> list[int]:
    """Lets trainers of this process take the branch of a GPU; only CUDA's counters and generators are stand-ins.

    Args:
        set_attribute: as `setattr`, or a monkeypatch's.
        lacks: `forward` or `backward`: the pass in which memory runs out, in the first block; empty: in none.
        times: in how many trials, from the first one on.

    Returns:
        A list that receives the rows of each trial.
    """
    stand_ins: dict[str, Any] = {
        "get_device_name": lambda _: "stand-in",
        "get_device_properties": lambda _: SimpleNamespace(total_memory=MEMORY),
        "reset_peak_memory_stats": lambda: None,
        "max_memory_allocated": lambda: MEMORY // 4,
        "memory_allocated": lambda: MEMORY // 8,
        "get_rng_state": lambda _: torch.get_rng_state(),
        "set_rng_state": lambda state, _: torch.set_rng_state(state),
    }
    for name, stand_in in stand_ins.items():
        set_attribute(torch.cuda, name, stand_in)
    set_attribute(ScaledTrainer, "_on_gpu", True)
    tried: list[int] = []
    try_rows = ScaledTrainer._try_rows

    def counted(self: Any, model: Any, longest: Any, rows: int) -> Any:
        tried.append(rows)
        if lacks and len(tried) <= times:
            kinds = ((type(module).__name__, module) for module in self.model.modules())  # in shards: FSDPLlama…
            _run_out_once(next(module for name, module in kinds if name.endswith("DecoderLayer")), lacks)
        return try_rows(self, model, longest, rows)

    set_attribute(ScaledTrainer, "_try_rows", counted)
    return tried


def _run_out_once(block: Any, lacks: str) -> None:
    """Lets a block's next pass forward or backward end as it does on a GPU without memory."""

    def run_out(*_: Any) -> None:
        hook.remove()
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    register = {"forward": block.register_forward_pre_hook, "backward": block.register_full_backward_pre_hook}
    hook = register[lacks](run_out)
