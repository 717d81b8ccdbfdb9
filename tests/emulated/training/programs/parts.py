"""Train the same rows whole and in micro-batches, with and without gradient checkpointing. Prints JSON; run in the
training image.

python parts.py BASE ROWS RECIPE
    -> {way: {"losses": [of each step], "distance": of the adapter from that of whole batches, "size": of this one's,
              "parts": the most micro-batches of a step}}
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from llmops_kit.training.process import prepare_process

prepare_process()

from safetensors.torch import load_file  # noqa: E402

from llmops_kit.core.documents.recipe import Recipe  # noqa: E402
from llmops_kit.training import checkpoints  # noqa: E402
from llmops_kit.training.ranks import StoppedError  # noqa: E402
from llmops_kit.training.torch_trainer import micro_batches  # noqa: E402
from llmops_kit.training.torch_trainer.finetune import finetune  # noqa: E402


class Counted(micro_batches.MicroBatchCollator):
    """Remembers into how many parts a batch went."""

    most = 0

    def __call__(self, rows: list[Any]) -> list[Any]:
        parts = super().__call__(rows)
        Counted.most = max(Counted.most, len(parts))
        return parts


def train(base: Path, rows: Path, recipe: Recipe, tokens: int, checkpointing: bool, stop_after: int = 0) -> Any:
    """Losses, the adapter, and the most parts of a batch; with a stop and another start after so many steps."""
    micro_batches.CPU_TOKENS, Counted.most, steps = tokens, 0, 0
    options = recipe.training.model_copy(update={"gradient_checkpointing": checkpointing})

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps >= stop_after > 0

    with tempfile.TemporaryDirectory() as work:
        try:
            finetune(base, rows, options, recipe.serving.system_prompt, Path(work), stop)
        except StoppedError:
            micro_batches.CPU_TOKENS = 8192  # what a checkpoint says counts, not what would be found now
            finetune(base, rows, options, recipe.serving.system_prompt, Path(work))
        newest = checkpoints.newest(Path(work))
        assert newest
        history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
        adapter = load_file(Path(work, "trained", "adapter_model.safetensors"))
    return [entry["loss"] for entry in history if "loss" in entry], adapter, Counted.most


def main(base: Path, rows: Path, recipe: Recipe) -> dict[str, Any]:
    import llmops_kit.training.torch_trainer.scaled_trainer

    llmops_kit.training.torch_trainer.scaled_trainer.MicroBatchCollator = Counted
    ways = {
        "whole": train(base, rows, recipe, 8192, False),
        "parts": train(base, rows, recipe, 256, False),
        "resumed": train(base, rows, recipe, 256, False, stop_after=5),
        "checkpointing": train(base, rows, recipe, 8192, True),
    }
    first = ways["whole"][1]

    def size(one: Any, other: Any = None) -> float:
        return sum(((one[n] - (other[n] if other else 0)) ** 2).sum().item() for n in one) ** 0.5

    return {
        way: {"losses": losses, "distance": size(adapter, first), "size": size(adapter), "parts": parts}
        for way, (losses, adapter, parts) in ways.items()
    }


if __name__ == "__main__":
    base, rows, recipe = (Path(a) for a in sys.argv[1:])
    print(json.dumps(main(base, rows, Recipe.load(recipe))))
