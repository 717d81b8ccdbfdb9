"""Optimizer steps on TensorFlow: AdamW with clipping as the PyTorch trainer defines them, on one device or several."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras  # pyright: ignore[reportMissingImports]
import numpy as np
import tensorflow as tf  # pyright: ignore[reportMissingModuleSource]
from keras import ops  # pyright: ignore[reportMissingImports]

from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.training.guard import ADDED_AT_A_TIME, weights_digest
from llmops_kit.training.keras_trainer.batches import MicroBatch

_MAX_NORM = 1.0
_BATCH = (tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, None), tf.float32))


class Taken(NamedTuple):
    """Measurements of an optimizer step."""

    loss: float
    """Mean over its loss-bearing tokens, in nats."""
    grad_norm: float
    """Before clipping."""
    learning_rate: float


class KerasSteps:
    """Computes losses and gradients of micro-batches, and takes steps."""

    def __init__(self, model: Any, trained: Sequence[Any], options: TrainingRecipe, strategy: Any) -> None:
        """Builds the optimizer; call it in the strategy's scope.

        Args:
            model: keras_hub's CausalLM.
            trained: its variables that are trained.
            options: the recipe's training section.
            strategy: tf.distribute's: its devices share the rows of each micro-batch.
        """
        self._model, self._trained, self._options, self._strategy = model, list(trained), options, strategy
        self._loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
        self._optimizer = keras.optimizers.AdamW(options.learning_rate, options.weight_decay, epsilon=1e-8)
        # transformers' rule: neither biases nor norms decay. Qwen's biases have two dimensions here.
        kept = [v for v in self._trained if len(v.shape) < 2 or v.name == "bias"]
        self._optimizer.exclude_from_weight_decay(var_list=kept)
        self._optimizer.build(self._trained)
        self._gradients: list[Any] | None = None
        self._sum = 0.0
        # Traced once for all widths: the first trace of a large model takes a minute.
        any_width: Any = (
            {"reduce_retracing": True} if strategy.num_replicas_in_sync > 1 else {"input_signature": _BATCH}
        )
        self._whole_loss = tf.function(self._add_losses, **any_width)
        self._whole_gradients = tf.function(self._add_gradients, **any_width)
        self._apply = tf.function(self._apply_clipped)

    @property
    def trained(self) -> dict[str, Any]:
        """The trained variables by their numbers: Keras gives equal paths to updates of different layers."""
        return {f"trained/{number}": variable for number, variable in enumerate(self._trained)}

    @property
    def variables(self) -> dict[str, Any]:
        """The trained variables and the optimizer's."""
        return self.trained | {f"optimizer/{n}": variable for n, variable in enumerate(self._optimizer.variables)}

    def trained_digest(self) -> str:
        """Returns the digest of the trained variables, which are f32 in either precision."""
        sums = {}
        for name, variable in self.trained.items():  # one at a time: on a GPU, each is copied
            flat = np.asarray(ops.convert_to_numpy(variable)).reshape(-1)
            parts = (
                flat[start : start + ADDED_AT_A_TIME] + np.float32(0) for start in range(0, flat.size, ADDED_AT_A_TIME)
            )
            sums[name] = sum(int(part.view(np.int32).sum(dtype=np.int64)) for part in parts)
        return weights_digest(sums)

    def loss(self, part: MicroBatch) -> float:
        """Returns a micro-batch's weighted loss, without gradients."""
        return float(self._whole_loss(*self._shared(part)))

    def add(self, part: MicroBatch) -> None:
        """Adds a micro-batch's loss and gradients to those of the step."""
        loss, gradients = self._whole_gradients(*self._shared(part))
        self._sum += float(loss)
        if self._gradients is None:
            self._gradients = gradients
        else:
            self._gradients = [one + other for one, other in zip(self._gradients, gradients, strict=True)]

    def take(self, learning_rate: float) -> Taken:
        """Takes a step with the gradients that were added."""
        assert self._gradients is not None
        self._optimizer.learning_rate = learning_rate
        norm = self._apply(self._gradients)
        loss, self._sum, self._gradients = self._sum, 0.0, None
        return Taken(loss, float(norm), learning_rate)

    def _shared(self, part: MicroBatch) -> tuple[Any, Any]:
        """Returns a micro-batch's tensors with an equal share of the rows for each device."""
        count = self._strategy.num_replicas_in_sync
        tensors = tf.convert_to_tensor(part.token_ids), tf.convert_to_tensor(part.sample_weight)
        if count == 1:
            return tensors
        shares = [tf.split(tensor, count) for tensor in tensors]
        distribute = self._strategy.experimental_distribute_values_from_function
        ids, weights = (distribute(lambda c, s=share: s[c.replica_id_in_sync_group]) for share in shares)
        return ids, weights

    def _loss_of(self, token_ids: Any, sample_weight: Any) -> Any:
        """Returns the sum of the tokens' losses times their weights; logits are computed only where there is weight."""
        inputs = {"token_ids": token_ids, "padding_mask": tf.ones_like(token_ids)}
        hidden = self._model.backbone(inputs, training=True)
        next_weight = sample_weight[:, 1:]
        places = tf.where(next_weight > 0)
        logits = self._model.backbone.token_embedding(tf.gather_nd(hidden, places), reverse=True)
        targets = tf.gather_nd(token_ids[:, 1:], places)
        return self._loss(targets, ops.cast(logits, "float32"), sample_weight=tf.gather_nd(next_weight, places))

    def _gradients_of(self, token_ids: Any, sample_weight: Any) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            loss = self._loss_of(token_ids, sample_weight)
        found = tape.gradient(loss, [variable.value for variable in self._trained])
        return loss, [tf.convert_to_tensor(gradient) for gradient in found]

    def _add_losses(self, token_ids: Any, sample_weight: Any) -> Any:
        return self._added(self._strategy.run(self._loss_of, (token_ids, sample_weight)))

    def _add_gradients(self, token_ids: Any, sample_weight: Any) -> tuple[Any, list[Any]]:
        loss, gradients = self._strategy.run(self._gradients_of, (token_ids, sample_weight))
        return self._added(loss), [self._added(gradient) for gradient in gradients]

    def _added(self, value: Any) -> Any:
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)

    def _apply_clipped(self, gradients: list[Any]) -> Any:
        norm = tf.linalg.global_norm(gradients)
        scale = tf.minimum(1.0, _MAX_NORM / (norm + 1e-6))  # torch's clip_grad_norm_
        self._optimizer.apply([gradient * scale for gradient in gradients], self._trained)
        return norm


def rate(step: int, total: int, options: TrainingRecipe) -> float:
    """Returns the learning rate of a step, counted from 0: linear warm-up, then the recipe's schedule, as transformers
    defines them.
    """
    if step < options.warmup_steps:
        return options.learning_rate * step / options.warmup_steps
    done = (step - options.warmup_steps) / max(1, total - options.warmup_steps)
    left = {"linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "constant": 1.0}
    return options.learning_rate * left[options.schedule]


def as_arrays(variables: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns variables' values."""
    return {name: np.asarray(ops.convert_to_numpy(variable)) for name, variable in variables.items()}
