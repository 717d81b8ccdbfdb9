"""Speed of training on TensorFlow: `python -m bench.training_tensorflow [--steps 5] [--batch 8] [--turns 6]`.

The same conversations, adapter rank and measure as bench.training: tokens without padding trained per second of
processor time, f32, on one thread, each way in its own process. Ways: Keras's own `fit` of the model that KerasHub
loads, with KerasHub's `enable_lora` on the same layers, tf.data and `sample_weight`; the kit's TensorFlow trainer; the
kit's PyTorch trainer, without and with packing. KerasHub's updates differ from peft's of the same rank, so only the
first losses are equal.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import training
from bench.training import Measure
from llmops_kit.core.documents.recipe_training import TrainingRecipe
from tests.support.tiny_models.models import tensorflow_python, training_python

WAYS = ("keras fit", "kit on tensorflow", "kit on pytorch", "kit on pytorch, packed")
_LINEAR = (
    *("query", "key", "value", "attention_output"),
    *("feedforward_gate_dense", "feedforward_intermediate_dense", "feedforward_output_dense"),
)


def main() -> None:
    """Prints the measurements."""
    found = training.measure_ways(__doc__, WAYS, _measured)
    for way, measure in found.items():
        ratio = measure.tokens / found[WAYS[0]].tokens
        speed = f"{measure.tokens:6.1f} tokens/CPU-s, to Keras's fit {ratio:.2f}"
        losses = f"losses {measure.losses[0]:.4f} to {measure.losses[-1]:.4f}"
        print(f"{way:23} {speed}; peak memory {measure.peak_mb} MB; {losses}")


def fit(base: Path, rows: Path, options: TrainingRecipe) -> tuple[list[float], list[float]]:
    """Trains with Keras's own `fit`; returns the losses, and the processor time after each step."""
    import keras  # pyright: ignore[reportMissingImports]
    import tensorflow as tf  # pyright: ignore[reportMissingModuleSource]

    from llmops_kit.training.data.examples import load_examples
    from llmops_kit.training.keras_trainer.batches import BatchOrder
    from llmops_kit.training.keras_trainer.model import load_causal_lm
    from llmops_kit.training.models.weights import load_tokenizer

    losses: list[float] = []
    stamps: list[float] = []

    class FitTimes(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            losses.append(float(logs["loss"]))
            stamps.append(time.process_time())

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.model.reset_metrics()  # otherwise the loss is the mean of all steps

    model = load_causal_lm(base, "f32")
    model.backbone.enable_lora(options.lora.r, list(_LINEAR))
    model.compile(keras.optimizers.AdamW(options.learning_rate), _summed_loss(keras))
    with tempfile.TemporaryDirectory() as work:
        tokenizer = load_tokenizer(base)
        examples = load_examples(rows, tokenizer, options, "", Path(work, "rows.arrow"))
        order = BatchOrder(examples, options, tokenizer.pad_token_id, 1)

        def batches() -> Any:
            for ids, weights, _ in order.after(0):
                inputs = {"token_ids": ids[:, :-1], "padding_mask": ids[:, :-1] * 0 + 1}
                yield inputs, ids[:, 1:], weights[:, 1:]

        ids = tf.TensorSpec((None, None), tf.int32)
        signature = ({"token_ids": ids, "padding_mask": ids}, ids, tf.TensorSpec((None, None), tf.float32))
        data = tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)
        model.fit(data, verbose=0, callbacks=[FitTimes()])
    return losses, stamps


def _summed_loss(keras: Any) -> Any:
    """Returns a summed loss, which is a step's mean loss, since the weights of a step add up to one."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")


def run(way: str, base: Path, rows: Path, options: dict[str, Any]) -> None:
    """Trains one way on TensorFlow, and prints its Measure as JSON."""
    from llmops_kit.training.keras_trainer.devices import prepare_tensorflow

    prepare_tensorflow(os.environ, 1)
    from llmops_kit.training.keras_trainer.finetune import finetune

    made = TrainingRecipe(**options)
    taken = fit(base, rows, made) if way == "keras fit" else training.kit(base, rows, made, finetune)
    training.report(base, rows, made, *taken)


def _measured(way: str, rows: Path, options: dict[str, Any]) -> Measure:
    options = options | {"precision": "f32"}
    if "pytorch" in way:
        name = "kit packed" if way.endswith("packed") else "kit"
        return training.measure(training_python(), "bench.training", name, rows, options)
    return training.measure(tensorflow_python(), "bench.training_tensorflow", way, rows, options)


if __name__ == "__main__":
    main()
