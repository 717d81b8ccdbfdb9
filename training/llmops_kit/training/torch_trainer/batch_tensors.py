"""Examples as the tensors of a batch: rows of tokens, and the positions whose next token bears loss."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.training.data.examples import Example
from llmops_kit.training.data.layouts import ALL, joined_layout, packed_layout

Batch = dict[str, Any]


class Collator:
    """Makes a batch of examples.

    The loss of a batch does not depend on the layout of its rows. Rows are padded on the right, which causal attention
    does not see.
    """

    def __init__(self, pad: int, pack_to: int = 0, joined: bool = False) -> None:
        """Configures the layout.

        Args:
            pad: the padding token id.
            pack_to: tokens of a row that holds several sequences, which don't see each other; 0: each has its own row.
                With `ALL`, one row holds all of them, without padding.
            joined: whether a prefix that sequences share occurs once, in one row of all sequences: for models that
                attend by sequence (llmops_kit.training.torch_trainer.attention), instead of `pack_to`.
        """
        self._pad, self._pack_to, self._joined = pad, pack_to, joined

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """Lays out examples; without any, returns a batch without loss.

        Returns:
            `input_ids` [rows, width]; `position_ids` [rows, width] of packed rows, counted within each sequence;
            `attention_mask` [1, 1, sequences, width] of a joined row, int8: 1 where a token belongs to a sequence;
            `predicts` [targets]: places in the flattened rows whose next token bears loss; `targets`: those tokens;
            `sides`: how many of the targets, in order, belong to each example, of DPO's to each of its two answers.
        """
        import torch

        sequences = [sequence for example in examples for sequence in example.sequences]
        texts = [sequence.ids for sequence in sequences]
        laid = joined_layout(texts, self._pad) if self._joined else packed_layout(texts, self._pack_to, self._pad)
        pairs = zip(sequences, laid.places, strict=True)
        predicts = [places[np.flatnonzero(sequence.answer) - 1] for sequence, places in pairs]
        targets = [sequence.ids[sequence.answer] for sequence in sequences]
        batch: Batch = {
            "input_ids": torch.from_numpy(laid.ids),
            "predicts": torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *predicts])),
            "targets": torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *targets])),
            "sides": _sides(examples),
        }
        if self._pack_to or self._joined:
            batch["position_ids"] = torch.from_numpy(laid.positions)
        if self._joined:
            batch["attention_mask"] = torch.from_numpy(laid.members())[None, None]
        return batch


def pack_size(options: TrainingRecipe, gpu: bool) -> int:
    """Returns a collator's `pack_to` for the recipe's training section. On processors each sequence attends to itself
    alone (llmops_kit.training.torch_trainer.attention), so that rows of any length cost the same.
    """
    return (options.max_tokens if gpu else ALL) if options.packing else 0


def on_device(batch: Batch, device: Any) -> Batch:
    """Returns a batch with its tensors on a device."""
    return {name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()}


def _sides(examples: Sequence[Example]) -> list[int]:
    both = (side for sequences, chosen in examples for side in (sequences[:chosen], sequences[chosen:]))
    return [sum(int(sequence.answer.sum()) for sequence in side) for side in both if side]
