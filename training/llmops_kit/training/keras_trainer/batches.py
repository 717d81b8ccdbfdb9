"""Batches of a run, in the PyTorch trainer's order, as token ids and the weight of each token's loss."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.training.data.examples import Example, Examples
from llmops_kit.training.torch_trainer.micro_batches import rows_on_cpu


class MicroBatch(NamedTuple):
    """Rows whose gradients are computed together."""

    token_ids: npt.NDArray[np.int32]
    """[rows, width], padded on the right, which causal attention does not see."""
    sample_weight: npt.NDArray[np.float32]
    """[rows, width]: the weight of each token's loss in the step's: 1 / the step's loss-bearing tokens, or 0."""
    last: bool
    """Whether the step is taken after it."""


class BatchOrder:
    """Determines the rows of each step."""

    def __init__(self, examples: Examples, options: TrainingRecipe, pad: int, replicas: int) -> None:
        """Plans the batches.

        Args:
            examples: the rows to train.
            options: the recipe's training section.
            pad: the padding token's id.
            replicas: devices that share each micro-batch; its number of rows is a multiple of theirs.
        """
        self._examples, self._options, self._pad, self._replicas = examples, options, pad, replicas
        self._per_epoch = math.ceil(len(examples) / options.batch_size)
        self.steps = options.max_steps or self._per_epoch * options.epochs
        share = math.ceil(options.batch_size / replicas)
        self.rows = replicas * rows_on_cpu(share, max(examples.widths))
        """Rows of a micro-batch."""

    @property
    def tokens_per_step(self) -> float:
        """Tokens of an epoch over its steps, padding left out."""
        return self._examples.tokens / self._per_epoch

    def after(self, step: int) -> Iterator[MicroBatch]:
        """Yields the micro-batches of all steps after the first `step` ones."""
        order: list[int] = []
        for number in range(step, self.steps):
            epoch, place = divmod(number, self._per_epoch)
            if not order or not place:
                order = permutation(len(self._examples), self._options.seed + epoch)
            size = self._options.batch_size
            batch = [self._examples[i] for i in order[place * size : (place + 1) * size]]
            yield from micro_batches(batch, self.rows, self._pad, self._replicas)


def micro_batches(batch: Sequence[Example], rows: int, pad: int, replicas: int = 1) -> Iterator[MicroBatch]:
    """Yields a batch's rows in parts of at most `rows`, filled up with empty rows to a multiple of `replicas`."""
    sequences = [sequence for example in batch for sequence in example.sequences]
    bearing = max(1, sum(int(sequence.answer.sum()) for sequence in sequences))
    for start in range(0, len(sequences), rows):
        part = sequences[start : start + rows]
        shape = (math.ceil(len(part) / replicas) * replicas, max(len(sequence.ids) for sequence in part))
        ids, weights = np.full(shape, pad, np.int32), np.zeros(shape, np.float32)
        for row, sequence in enumerate(part):
            ids[row, : len(sequence.ids)] = sequence.ids
            weights[row, : len(sequence.ids)] = sequence.answer / np.float32(bearing)
        yield MicroBatch(ids, weights, start + rows >= len(sequences))


def permutation(count: int, seed: int) -> list[int]:
    """Returns the numbers below `count` in the order that torch.randperm draws with this seed: Fisher and Yates's
    shuffle by MT19937 (https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/native/TensorFactories.cpp,
    randperm_cpu).
    """
    source = np.random.MT19937()
    source._legacy_seeding(seed & 0xFFFFFFFF)  # pyright: ignore  (init_genrand, as torch's; a SeedSequence is another)
    drawn = source.random_raw(max(1, count - 1)).tolist()
    order = list(range(count))
    for i in range(count - 1):
        j = i + drawn[i] % (count - i)
        order[i], order[j] = order[j], order[i]
    return order
