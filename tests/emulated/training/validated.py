"""Train with a validation split, at once and with a stop in between; print what came of it as JSON."""

import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file

from contract.documents.recipe import Recipe
from training.examples import load_examples
from training.finetune import finetune
from training.ranks import StoppedError
from training.weights import load_model, load_tokenizer

STOPPED_AFTER = 5


def loss_of(base: Path, adapter: Path, rows: Path, recipe: Recipe) -> float:
    """Mean loss over the answers' tokens, a row at a time, with peft's own loading of the adapter."""
    tokenizer, model = load_tokenizer(base), PeftModel.from_pretrained(load_model(base), str(adapter))
    total = count = 0.0
    target = adapter.with_name("rows.arrow")
    for example in load_examples(rows, tokenizer, recipe.training, recipe.serving.system_prompt, target):
        ids, labels = (torch.tensor(each.tolist())[None] for each in example.sequences[0])
        labels = torch.where(labels, ids, -100)
        with torch.inference_mode():
            loss = model(input_ids=ids, labels=labels).loss
        tokens = int((labels[:, 1:] != -100).sum())
        total, count = total + float(loss) * tokens, count + tokens
    return total / count


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
        weights = [load_file(Path(folder, "trained/adapter_model.safetensors")) for folder in (one, two)]
        return {
            "whole": whole.model_dump(),
            "resumed": resumed.model_dump(),
            "equal": all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0]),
            "loss": loss_of(base, Path(one, "trained"), held_out, recipe),
        }


if __name__ == "__main__":
    base, rows, held_out, recipe = (Path(a) for a in sys.argv[1:])
    print(json.dumps(main(base, rows, held_out, Recipe.load(recipe))))
