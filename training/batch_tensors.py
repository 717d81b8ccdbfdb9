"""Examples as the tensors of a batch: rows of tokens, and the positions whose next token bears loss."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from training.chat import Encoded
from training.examples import Example

Batch = dict[str, Any]
ALL = sys.maxsize


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
        rows = _packed(sequences, self._pack_to) if self._pack_to else [[i] for i in range(len(sequences))]
        width = max((sum(len(sequences[i].ids) for i in row) for row in rows), default=1)
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


def on_device(batch: Batch, device: Any) -> Batch:
    """Returns a batch with its tensors on a device."""
    return {name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()}


def _packed(sequences: Sequence[Encoded], size: int) -> list[list[int]]:
    """Returns the sequences that share each row of at most `size` tokens, by first fit, longest first."""
    rows: list[list[int]] = []
    free: list[int] = []
    for i in sorted(range(len(sequences)), key=lambda i: (-len(sequences[i].ids), i)):
        length = len(sequences[i].ids)
        place = next((n for n, room in enumerate(free) if room >= length), len(rows))
        if place == len(rows):
            rows.append([])
            free.append(max(size, length))
        rows[place].append(i)
        free[place] -= length
    return rows


def _sides(examples: Sequence[Example]) -> list[int]:
    both = (side for sequences, chosen in examples for side in (sequences[:chosen], sequences[chosen:]))
    return [sum(int(sequence.answer.sum()) for sequence in side) for side in both if side]
