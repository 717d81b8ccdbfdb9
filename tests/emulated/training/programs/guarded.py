"""Stop the fine-tuning, and resume it. Prints JSON; run in the training image.

python guarded.py BASE ROWS RECIPE -> [[step, number of earlier losses that the guard knows] ...], of both parts
"""

import json
import sys
import tempfile
from pathlib import Path

from llmops_kit.training.process import prepare_process

prepare_process()

from llmops_kit.core.documents.recipe import Recipe  # noqa: E402
from llmops_kit.training.ranks import StoppedError  # noqa: E402
from llmops_kit.training.torch_trainer import watch  # noqa: E402
from llmops_kit.training.torch_trainer.finetune import finetune  # noqa: E402

STOPPED_AFTER = 4  # told to the guard: the trainer asks at the end of the step after it
seen: list[list[int]] = []
guard = watch.guard


def note(loss: float, grad_norm: float, before: list[float], step: int) -> None:
    """Guard, and keep what it was given."""
    seen.append([step, len(before)])
    guard(loss, grad_norm, before, step)


def main(base: Path, rows: Path, recipe: Recipe) -> None:
    """Run both parts."""
    watch.guard = note
    with tempfile.TemporaryDirectory() as work:
        prompt = recipe.serving.system_prompt
        try:
            finetune(base, rows, recipe.training, prompt, Path(work), lambda: len(seen) >= STOPPED_AFTER)
        except StoppedError:
            finetune(base, rows, recipe.training, prompt, Path(work))
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Recipe.load(Path(sys.argv[3])))
