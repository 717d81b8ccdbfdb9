"""Train the same rows in several ways, alone or as one of several ranks. Prints JSON; run in the training image.

python ranked.py BASE ROWS HELD_OUT RECIPE FOLDER WAYS   with the variables of training.ranks.Team, or alone
    WAYS: {name: {"options": of the recipe's training, "stop_after": steps, "from": another way's folder to go on in}}
    -> {name: {"losses": [of each step], "validation": loss, "sha256": of the adapter, "sharded": bool}}, of rank 0
"""

import json
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from training.process import prepare_process

prepare_process()

from torch.distributed import distributed_c10d  # noqa: E402

from contract.documents.recipe import Recipe  # noqa: E402
from contract.documents.recipe_training import Training  # noqa: E402
from contract.integrity.digest import sha256_file  # noqa: E402
from training import checkpoints  # noqa: E402
from training.finetune import finetune  # noqa: E402
from training.ranks import Alone, StoppedError, Team  # noqa: E402


def refuse(*_: object) -> None:
    """In the place of torch's own pickling."""
    raise AssertionError("an object was pickled for the wire, or unpickled from it")


class Ways:
    """Trains, with what is equal for all ways."""

    def __init__(self, base: Path, rows: Path, held_out: Path, recipe: Recipe, folder: Path) -> None:
        self.inputs, self.held_out, self.recipe, self.folder = (base, rows), held_out, recipe, folder
        self.ranks = Team(os.environ) if "RANK" in os.environ else Alone()

    def train(self, name: str, way: dict[str, Any]) -> dict[str, Any] | None:
        options = Training.model_validate(self.recipe.training.model_dump() | {"patience": 9} | way.get("options", {}))
        folder = self.folder / (name if self.ranks.first else f"{name}-{self.ranks.rank}")
        if self.ranks.first and "from" in way:
            shutil.copytree(self.folder / way["from"], folder)
        steps = 0

        def stop() -> bool:
            nonlocal steps
            steps += 1
            return self.ranks.any_asks(steps >= way.get("stop_after", 99))

        rows = (*self.inputs, options, self.recipe.serving.system_prompt, folder, stop, self.ranks, self.held_out)
        with suppress(StoppedError):
            facts = finetune(*rows)
            if self.ranks.first:
                return {"validation": facts.validation_loss, **self.found(folder)}
        return None

    def found(self, folder: Path) -> dict[str, Any]:
        newest = checkpoints.newest(folder)
        assert newest
        history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
        return {
            "losses": [entry["loss"] for entry in history if "loss" in entry],
            "sha256": sha256_file(folder / "trained" / "adapter_model.safetensors"),
            "shards": sorted(path.name for path in (newest / "shards").iterdir()),
        }


def main(base: Path, rows: Path, held_out: Path, recipe: Path, folder: Path, ways: str) -> None:
    distributed_c10d._object_to_tensor = distributed_c10d._tensor_to_object = refuse  # type: ignore[assignment]
    trainer = Ways(base, rows, held_out, Recipe.load(recipe), folder)
    found = {name: trainer.train(name, way) for name, way in json.loads(ways).items()}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    base, rows, held_out, recipe, folder = (Path(a) for a in sys.argv[1:6])
    main(base, rows, held_out, recipe, folder, sys.argv[6])
