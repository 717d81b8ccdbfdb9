"""Measures the loss on the validation split during training, to select the best step and to stop early."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from llmops_kit.training.data.examples import Example, Examples
from llmops_kit.training.process import say
from llmops_kit.training.ranks import Alone
from llmops_kit.training.torch_trainer.batch_tensors import Collator, on_device
from llmops_kit.training.torch_trainer.objectives import Objective

BATCH_TOKENS = 4096
"""Maximum padded tokens of a batch. Without gradients, more than a training batch fits."""


class Validation:
    """Measures the loss at intervals, and remembers the best."""

    def __init__(self, examples: Examples | None, collate: Collator, every: int, patience: int, ranks: Alone) -> None:
        """Prepares measurements on the validation split.

        Args:
            examples: None: nothing is measured.
            collate: makes batches of them.
            every: steps between measurements; the last step is measured too.
            patience: consecutive measurements without improvement until `exhausted`; 0: losses are only shown.
            ranks: the ranks that share the examples.
        """
        self._examples, self._collate = examples, collate
        self._every, self._patience, self._ranks = every, patience, ranks
        self.losses: list[tuple[int, float]] = []

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and loss of the best measurement; None if no step is selected."""
        if not self._patience:
            return None
        return min(self.losses, key=lambda measure: (measure[1], measure[0]), default=None)

    @property
    def exhausted(self) -> bool:
        """Whether the last `patience` measurements brought no improvement."""
        if not self.best or len(self.losses) <= self._patience:
            return False
        return self.best[0] < self.losses[-self._patience][0]

    def is_due(self, step: int, last: int) -> bool:
        """Returns whether to measure after this step."""
        return bool(self._examples) and (step % self._every == 0 or step == last)

    def measure(self, model: Any, objective: Objective, step: int, last: int) -> bool:
        """Measures an objective after a step, of `last` ones, and prints its mean.

        Returns:
            Whether it is the best so far, and so the step to select.
        """
        import torch

        total = torch.zeros(2, dtype=torch.float64)
        was_training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                batches = self.batches()
                while self._ranks.any_asks((batch := next(batches, None)) is not None):
                    # With sharded weights, all ranks compute together: a rank without a batch computes an empty one.
                    tensors = on_device(self._collate(batch or []), model.device)
                    total[0] += float(objective.total(model, tensors))
                    total[1] += objective.items(tensors)
        finally:
            model.train(was_training)
        loss, items = self._ranks.sum(total).tolist()
        return self.record(loss, items, step, last)

    def record(self, loss: float, items: float, step: int, last: int) -> bool:
        """Remembers a measurement, and prints its mean.

        Args:
            loss: sum over all items.
            items: their number.
            step: after which it was measured.
            last: the training's steps.

        Returns:
            Whether it is the best so far, and so the step to select.
        """
        value = round(loss / items, 6) if items else math.nan
        self.losses.append((step, value))
        say(step=step, total=last, validation_loss=f"{value:.4f}")
        return self.best == (step, value)

    def batches(self) -> Iterator[list[Example]]:
        """Yields this rank's share of the examples, in batches."""
        examples = self._examples
        if examples is None:
            return
        for batch in _alike(examples.widths, range(self._ranks.rank, len(examples), self._ranks.size)):
            yield [examples[i] for i in batch]


def _alike(widths: Sequence[int], share: Iterable[int]) -> Iterator[list[int]]:
    """Yields the numbers of examples of similar width, as many as fit into BATCH_TOKENS padded tokens."""
    batch: list[int] = []
    for i in sorted(share, key=lambda i: (widths[i], i)):
        if batch and widths[i] * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
