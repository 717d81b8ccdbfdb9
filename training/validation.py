"""The loss on the validation split during training: which step had the least, and when to stop early."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from training.chat import Encoded
from training.process import say
from training.ranks import Alone

BATCH_TOKENS = 4096
"""Padded tokens of a batch. There are no gradients, so that more than a training batch fits."""


class Validation:
    """Measures the loss every so many steps, and remembers the best."""

    def __init__(self, examples: Sequence[Encoded], every: int, patience: int, pad: int, ranks: Alone) -> None:
        """Watch examples of the validation split.

        Args:
            examples: empty: nothing is measured.
            every: steps between measures; the last step is measured too.
            patience: how many measures in a row may bring no better loss until `exhausted`; 0: losses are only shown.
            pad: the token id that fills up batches.
            ranks: each takes its share of the examples.
        """
        self._examples = list(examples)[ranks.rank :: ranks.size]
        self._every, self._patience, self._pad, self._ranks = every, patience, pad, ranks
        self._on = bool(examples)
        self.losses: list[tuple[int, float]] = []

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and loss of the best measure; None where nothing is chosen by it."""
        if not self._patience:
            return None
        return min(self.losses, key=lambda measure: (measure[1], measure[0]), default=None)

    @property
    def exhausted(self) -> bool:
        """Whether the last `patience` measures were no better than one before them."""
        if not self.best or len(self.losses) <= self._patience:
            return False
        return self.best[0] < self.losses[-self._patience][0]

    def is_due(self, step: int, last: int) -> bool:
        """Whether a measure belongs after this step."""
        return self._on and (step % self._every == 0 or step == last)

    def measure(self, model: Any, step: int, last: int) -> bool:
        """Measure the loss after a step, of `last` ones, and print it.

        Returns:
            Whether it is the best so far, and so the step to choose.
        """
        import torch

        total = torch.zeros(2, dtype=torch.float64)
        was_training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                for batch in _batches(self._examples):
                    total += _loss(model, batch, self._pad)
        finally:
            model.train(was_training)
        loss, tokens = self._ranks.sum(total).tolist()
        value = round(loss / tokens, 6) if tokens else math.nan
        self.losses.append((step, value))
        say(step=step, total=last, validation_loss=f"{value:.4f}")
        return self.best == (step, value)


def _batches(examples: Sequence[Encoded]) -> Iterator[list[Encoded]]:
    """Examples of about one length, as many as fit into BATCH_TOKENS padded ones."""
    batch: list[Encoded] = []
    for example in sorted(examples, key=lambda each: len(each.ids)):
        if batch and len(example.ids) * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch


def _loss(model: Any, batch: list[Encoded], pad: int) -> Any:
    """Sum of the loss (nats) over the answers' tokens of a batch, and how many they are: a tensor of two."""
    import torch
    from torch.nn.functional import cross_entropy

    width = max(len(example.ids) for example in batch)
    device = model.device
    ids = torch.tensor([list(e.ids) + [pad] * (width - len(e.ids)) for e in batch], device=device)
    mask = torch.tensor([[1] * len(e.ids) + [0] * (width - len(e.ids)) for e in batch], device=device)
    bears = torch.tensor([list(e.answer) + [False] * (width - len(e.answer)) for e in batch], device=device)[:, 1:]
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1][bears].float()
    loss = cross_entropy(logits, ids[:, 1:][bears], reduction="sum")
    return torch.tensor([float(loss), float(bears.sum())], dtype=torch.float64)
