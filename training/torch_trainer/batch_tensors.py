"""Examples as the tensors of a batch: rows of tokens, and the positions whose next token bears loss."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from contract.documents.recipe_training import Training
from training.data.examples import Example

Batch = dict[str, Any]
ALL = sys.maxsize
_WIDTH_STEP = 16
"""Padded rows are as wide as a multiple of so many tokens: on processors, torch compiles kernels for each width that it
sees and keeps them, 20 MB for a small Llama.
"""


class Collator:
    """Makes a batch of examples.

    The loss of a batch does not depend on the layout of its rows. Rows are padded on the right, which causal attention
    does not see.
    """

    def __init__(self, pad: int, pack_to: int = 0) -> None:
        """Configures the layout.

        Args:
            pad: the padding token id.
            pack_to: tokens of a row that holds several sequences, which don't see each other; 0: each has its own row.
                With `ALL`, one row holds all of them, without padding.
        """
        self._pad, self._pack_to = pad, pack_to

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """Lays out examples; without any, returns a batch without loss.

        Returns:
            `input_ids` [rows, width]; `position_ids` [rows, width] of packed rows, which begin at 0 in each sequence;
            `predicts` [targets]: places in the flattened rows whose next token bears loss; `targets`: those tokens;
            `sides`: how many of the targets, in order, belong to each example, of DPO's to each of its two answers.
        """
        import torch

        sequences = [sequence for example in examples for sequence in example.sequences]
        rows, width = rows_of([len(sequence.ids) for sequence in sequences], self._pack_to)
        ids = np.full((max(1, len(rows)), width), self._pad, np.int64)
        positions = np.zeros_like(ids)
        predicts: dict[int, Any] = {}
        for number, row in enumerate(rows):
            start = 0
            for i in row:
                end = start + len(sequences[i].ids)
                ids[number, start:end] = sequences[i].ids
                positions[number, start:end] = np.arange(end - start)
                predicts[i] = number * width + start + np.flatnonzero(sequences[i].answer) - 1
                start = end
            positions[number, start:] = np.arange(width - start)
        places = [predicts[i] for i in range(len(sequences))]
        targets = [sequence.ids[sequence.answer] for sequence in sequences]
        batch: Batch = {
            "input_ids": torch.from_numpy(ids),
            "predicts": torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *places])),
            "targets": torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *targets])),
            "sides": _sides(examples),
        }
        return batch | ({"position_ids": torch.from_numpy(positions)} if self._pack_to else {})


def pack_size(options: Training, gpu: bool) -> int:
    """Returns a collator's `pack_to` for the recipe's training section. On processors each sequence attends to itself
    alone (training.torch_trainer.attention), so that rows of any length cost the same.
    """
    return (options.max_tokens if gpu else ALL) if options.packing else 0


def rows_of(lengths: Sequence[int], pack_to: int) -> tuple[list[list[int]], int]:
    """Returns which sequences share each row, and the rows' width in tokens.

    Args:
        lengths: of the sequences, in tokens.
        pack_to: tokens of a row that several may share, by first fit, longest first; 0: each has its own row.
    """
    if not pack_to:
        return [[i] for i in range(len(lengths))], padded_width(max(lengths, default=1))
    rows: list[list[int]] = []
    used: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = next((n for n, taken in enumerate(used) if taken + lengths[i] <= pack_to), len(rows))
        if place == len(rows):
            rows.append([])
            used.append(0)
        rows[place].append(i)
        used[place] += lengths[i]
    return rows, max(used, default=1)


def padded_width(longest: int) -> int:
    """Returns the width of padded rows whose longest has so many tokens."""
    return -(-longest // _WIDTH_STEP) * _WIDTH_STEP


def on_device(batch: Batch, device: Any) -> Batch:
    """Returns a batch with its tensors on a device."""
    return {name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()}


def _sides(examples: Sequence[Example]) -> list[int]:
    both = (side for sequences, chosen in examples for side in (sequences[:chosen], sequences[chosen:]))
    return [sum(int(sequence.answer.sum()) for sequence in side) for side in both if side]
