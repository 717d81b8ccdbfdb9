"""What Keras reads, trains and writes; run in the image training-tensorflow. Prints JSON.

python keras_trained.py MODELS BASE ROWS VALIDATION RECIPES OUT
    MODELS: the folder of families.py: writes the logits of each model, and the model again, before and after a step
    RECIPES: each is trained on ROWS into OUT/<number>: whole, in micro-batches, and on two devices
    -> {"losses": for each recipe, by way, "facts": of a training with VALIDATION and patience, "result_loss": what its
       result has there, "unchanged": the error of a training whose only step is of rate 0, "shared": names that our
       layer shares with Keras's}
"""

import json
import os
import sys
from pathlib import Path

from llmops_kit.training.keras_trainer.devices import prepare_tensorflow
from llmops_kit.training.process import prepare_process

prepare_process()
prepare_tensorflow(os.environ, 1)

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402  # pyright: ignore[reportMissingModuleSource]
from safetensors.numpy import save_file  # noqa: E402

from llmops_kit.core.documents.recipe import Recipe  # noqa: E402
from llmops_kit.core.documents.recipe_training import Lora, TrainingRecipe  # noqa: E402
from llmops_kit.core.errors import RunError  # noqa: E402
from llmops_kit.training import checkpoints  # noqa: E402
from llmops_kit.training.data.examples import load_examples  # noqa: E402
from llmops_kit.training.keras_trainer import batches, finetune  # noqa: E402
from llmops_kit.training.keras_trainer.batches import MicroBatch, micro_batches  # noqa: E402
from llmops_kit.training.keras_trainer.model import LowRankDense, add_low_rank, load_causal_lm, write_folder  # noqa: E402
from llmops_kit.training.keras_trainer.optimizer_steps import KerasSteps  # noqa: E402
from llmops_kit.training.models.weights import load_tokenizer  # noqa: E402
from tests.emulated.training.programs.keras_names import IDS, torch_name  # noqa: E402
from tests.support.collisions import Rooms  # noqa: E402

_ONE = tf.config.LogicalDeviceConfiguration()
DEVICES = ["CPU:0", "CPU:1"]
TRAINED = ("llama-tied", "qwen2")
"""Families whose models are trained too: with tied embeddings, and with biases and a head of their own."""


def logits(model) -> np.ndarray:
    """Of IDS."""
    ids = np.array(IDS, np.int32)
    hidden = model.backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    return np.asarray(model.backbone.token_embedding(hidden, reverse=True))


def follow(folder: Path, name: str) -> None:
    """Writes a model as it was read, and of `TRAINED` after three steps of updates and of all weights; with logits."""
    kept = {}
    ids = np.array(IDS, np.int32)
    part = MicroBatch(ids, np.full(ids.shape, 1 / ids.size, np.float32), True)
    for kind, options in (
        ("read", None),
        ("lora", TrainingRecipe(learning_rate=0.05)),
        ("full", TrainingRecipe(adapter="none")),
    ):
        if options and name not in TRAINED:
            continue
        model = load_causal_lm(folder / name, "f32")
        low_rank = []
        if options:
            low_rank = add_low_rank(model, Lora(r=4), 0) if kind == "lora" else []
            trained = [v for layer in low_rank for v in (layer.a, layer.b)] or model.trainable_variables
            steps = KerasSteps(model, trained, options, tf.distribute.get_strategy())
            for _ in range(3):
                steps.add(part)
                steps.take(options.learning_rate * 10)
        kept[kind] = logits(model)
        target = folder / f"{name}-{kind}"
        target.mkdir()
        write_folder(model, low_rank, folder / name, target)
    assert all(np.abs(logits_of - kept["read"]).max() > 0.01 for kind, logits_of in kept.items() if kind != "read")
    save_file(kept, folder / f"{name}.safetensors")


def train(base: Path, rows: Path, recipe: Recipe, out: Path, devices: int = 1, rows_together: int = 99) -> list[float]:
    """The losses of a training, on so many devices and with so many rows of each together."""
    finetune.device_names = lambda: DEVICES[:devices]
    batches.rows_on_cpu = lambda *_: rows_together
    finetune.finetune(base, rows, recipe.training, recipe.serving.system_prompt, out)
    newest = checkpoints.newest(out)
    assert newest
    return (checkpoints.notes_of(newest) or {})["losses"]


def save_start(base: Path, options: TrainingRecipe, path: Path) -> None:
    """The updates with which a training begins, by peft's names."""
    found = add_low_rank(load_causal_lm(base, "f32"), options.lora, options.seed)
    named: dict[str, LowRankDense] = {torch_name(layer.inner.kernel.path): layer for layer in found}
    assert len(named) == len(found) == 14
    save_file({name: np.asarray(layer.a) for name, layer in named.items()}, path)


def loss_on(folder: Path, rows: Path) -> float:
    """A model's loss on rows, one at a time."""
    options = TrainingRecipe(max_tokens=256)
    model, tokenizer = load_causal_lm(folder, "f32"), load_tokenizer(folder)
    steps = KerasSteps(model, model.trainable_variables, options, tf.distribute.get_strategy())
    examples = load_examples(rows, tokenizer, options, "Short.", folder / "rows.arrow")
    total = bearing = 0.0
    for example in examples:
        count = int(example.sequences[0].answer.sum())
        total += count * sum(steps.loss(part) for part in micro_batches([example], 1, 0))
        bearing += count
    return total / bearing


def unchanged(base: Path, rows: Path, out: Path) -> str:
    """The error of a training that learns nothing."""
    options = TrainingRecipe(max_steps=1, warmup_steps=1, precision="f32")
    try:
        finetune.finetune(base, rows, options, "Short.", out)
    except RunError as e:
        return e.what
    return ""


def main(models: Path, base: Path, rows: Path, validation: Path, recipes: Path, out: Path) -> dict[str, object]:
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [_ONE, _ONE])
    for folder in sorted(each for each in models.iterdir() if each.is_dir()):
        follow(models, folder.name)
    found = []
    for number, each in enumerate(json.loads(recipes.read_text())):
        recipe = Recipe.parse(each, "RECIPES")
        if recipe.training.adapter == "lora":
            save_start(base, recipe.training, out / f"start-{number}.safetensors")
        ways = {"whole": {}, "in parts": {"rows_together": 2}, "on two devices": {"devices": 2, "rows_together": 1}}
        found.append({way: train(base, rows, recipe, out / f"{number}-{way}", **how) for way, how in ways.items()})
    options = TrainingRecipe(
        learning_rate=0.02, epochs=8, batch_size=3, checkpoint_steps=2, patience=2, precision="f32"
    )
    finetune.device_names = lambda: DEVICES[:1]
    facts = finetune.finetune(base, rows, options, "Short.", out / "validated", validation_rows=validation)
    return {
        "losses": found,
        "facts": facts.model_dump(),
        "result_loss": loss_on(out / "validated" / "trained", validation),
        "unchanged": unchanged(base, rows, out / "unchanged"),
        "shared": Rooms("llmops_kit.training", "llmops_kit.core").collisions([LowRankDense.__module__]),
    }


if __name__ == "__main__":
    print(json.dumps(main(*map(Path, sys.argv[1:]))))
