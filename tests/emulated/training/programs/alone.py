"""Train in one process, for several to be compared with. Prints JSON; run in the training image.

python alone.py BASE ROWS RECIPE   with the folder of an adapter on stdin
    -> {"losses": [of each step], "distance": between the adapters, "size": of this one's}
"""

import json
import sys
import tempfile
from pathlib import Path

from llmops_kit.training.process import prepare_process

prepare_process()

from safetensors.torch import load_file  # noqa: E402

from llmops_kit.core.documents.recipe import Recipe  # noqa: E402
from llmops_kit.training import checkpoints  # noqa: E402
from llmops_kit.training.torch_trainer.finetune import finetune  # noqa: E402


def main(base: Path, rows: Path, recipe: Recipe) -> None:
    """Train, then compare."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        finetune(base, rows, recipe.training, recipe.serving.system_prompt, folder)
        newest = checkpoints.newest(folder)
        assert newest
        history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
        ours = load_file(folder / "trained" / "adapter_model.safetensors")
    theirs = load_file(Path(sys.stdin.readline().strip()) / "adapter_model.safetensors")
    assert ours.keys() == theirs.keys()
    distance = sum(((ours[name] - theirs[name]) ** 2).sum().item() for name in ours) ** 0.5
    size = sum((tensor**2).sum().item() for tensor in ours.values()) ** 0.5
    losses = [entry["loss"] for entry in history if "loss" in entry]
    print(json.dumps({"losses": losses, "distance": distance, "size": size}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Recipe.load(Path(sys.argv[3])))
