"""Train with a validation split, at once and with a stop in between. Prints JSON; run in the training image.

python validated.py BASE ROWS HELD_OUT RECIPES
    -> for each recipe of a JSON list what came of it; "loss": of the result, "roundings": of models that are the result
       but for how their weights are rounded to bf16
"""

import json
import sys
import tempfile
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.training_metrics import parse_metrics
from llmops_kit.core.layout import METRICS
from llmops_kit.training.data.examples import load_examples
from llmops_kit.training.models.merge import replace_weights
from llmops_kit.training.models.weights import load_model, load_tokenizer
from llmops_kit.training.ranks import StoppedError
from llmops_kit.training.torch_trainer.finetune import finetune
from tests.support.runs.rounding import round_weights_otherwise

STOPPED_AFTER = 5
ROUNDINGS = 6


def trained_model(base: Path, trained: Path, adapter: bool) -> Any:
    """What was trained, in f32: an adapter by peft's own loading."""
    if adapter:
        return PeftModel.from_pretrained(load_model(base), str(trained))
    version = trained.with_name("version")
    version.mkdir()
    replace_weights(base, trained, version)
    return load_model(version)


def loss_of(model: Any, examples: Any) -> float:
    """Mean loss over the answers' tokens, a row at a time."""
    total = count = 0.0
    for example in examples:
        ids, labels = (torch.tensor(each.tolist())[None] for each in example.sequences[0])
        labels = torch.where(labels, ids, -100)
        with torch.inference_mode():
            loss = model(input_ids=ids, labels=labels).loss
        tokens = int((labels[:, 1:] != -100).sum())
        total, count = total + float(loss) * tokens, count + tokens
    return total / count


def measuring_changes_nothing(base: Path, rows: Path, held_out: Path, recipe: Recipe) -> bool:
    """Whether a training whose validation loss selects nothing has the same weights without it."""
    training = recipe.training.model_copy(update={"patience": 0, "epochs": 2})
    made = []
    for validation in (None, held_out):
        with tempfile.TemporaryDirectory() as folder:
            finetune(base, rows, training, recipe.serving.system_prompt, Path(folder), validation_rows=validation)
            made.append([path.read_bytes() for path in sorted(Path(folder, "trained").glob("*.safetensors"))])
    return made[0] == made[1] != []


def main(base: Path, rows: Path, held_out: Path, recipe: Recipe) -> dict[str, object]:
    prompt, steps = recipe.serving.system_prompt, 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps >= STOPPED_AFTER

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        whole = finetune(base, rows, recipe.training, prompt, Path(one), validation_rows=held_out)
        with suppress(StoppedError):
            finetune(base, rows, recipe.training, prompt, Path(two), stop, validation_rows=held_out)
        resumed = finetune(base, rows, recipe.training, prompt, Path(two), validation_rows=held_out)
        model = trained_model(base, Path(one, "trained"), recipe.training.adapter != "none")
        examples = load_examples(held_out, load_tokenizer(base), recipe.training, prompt, Path(one, "rows.arrow"))
        others = [round_weights_otherwise(deepcopy(model), seed) for seed in range(ROUNDINGS)]
        files = [sorted(Path(folder, "trained").glob("*.safetensors")) for folder in (one, two)]
        return {
            "whole": whole.model_dump(),
            "resumed": resumed.model_dump(),
            "equal": [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]],
            "validation": [
                [(step.step, step.validation_loss) for step in parse_metrics(path.read_bytes(), str(path))]
                for path in (Path(folder, "trained", METRICS) for folder in (one, two))
            ],
            "same_without": measuring_changes_nothing(base, rows, held_out, recipe),
            "loss": loss_of(model, examples),
            "roundings": [loss_of(other, examples) for other in others],
        }


if __name__ == "__main__":
    base, rows, held_out, recipes = (Path(a) for a in sys.argv[1:])
    made = [Recipe.parse(text, "RECIPES") for text in json.loads(recipes.read_text())]
    print(json.dumps([main(base, rows, held_out, recipe) for recipe in made]))
