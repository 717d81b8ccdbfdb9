"""Splits batches into micro-batches that fit into the machine's memory; their gradients add up to the batch's."""

from collections.abc import Callable
from typing import Any, NamedTuple

from llmops_kit.core.errors import RunError

CPU_TOKENS = 8192
"""Padded tokens of a micro-batch on processors. Fixed rather than derived from free memory, so that equal jobs give
equal bytes on any machine.
"""
USABLE = 0.9
"""Usable share of a GPU's memory: the rest is lost to fragmentation between blocks of other lengths."""


class MemoryUse(NamedTuple):
    """Bytes of a GPU during a trial, and those that stay in use after it."""

    peak: int
    kept: int


class MicroBatchCollator:
    """Collates a batch's rows in order, as a list of micro-batches of at most `rows` rows."""

    def __init__(self, collate: Callable[[list[Any]], Any], rows: int) -> None:
        self.collate = collate
        self.rows = rows

    def __call__(self, rows: list[Any]) -> list[Any]:
        return [self.collate(rows[start : start + self.rows]) for start in range(0, len(rows), self.rows)]


def rows_on_cpu(batch: int, longest: int) -> int:
    """Returns the rows of a micro-batch on processors, for a rank's batch whose longest row has `longest` tokens."""
    return max(1, min(batch, CPU_TOKENS // longest))


def rows_on_gpu(
    batch: int, memory: int, trial: Callable[[int], MemoryUse], any_asks: Callable[[bool], bool] = lambda asked: asked
) -> int:
    """Returns the rows of a micro-batch on a GPU: a power of two, or the whole batch.

    Doubles it while the peak predicted from the last trial fits, so that only the first trial can run out of memory:
    with sharded weights, the other ranks would wait in vain for one that does.

    Args:
        batch: a rank's rows of a batch.
        memory: bytes of the GPU.
        trial: trains so many of the longest rows once.
        any_asks: returns whether any rank's argument is true, so that all take the same number.
    """
    rows = 1
    while True:
        peak, kept = trial(rows)
        if rows == batch or any_asks(peak + (peak - kept) > memory * USABLE):
            return rows
        rows = min(2 * rows, batch)


def too_large(reason: str, tokens: int, may_quantize: bool) -> RunError:
    """Returns the error for a GPU on which not even one row can be trained.

    Args:
        reason: torch's message.
        tokens: of the longest row.
        may_quantize: whether the fix names `adapter: qlora`, which the recipe doesn't have yet.
    """
    quantize = "train with `adapter: qlora`, " if may_quantize else ""
    return RunError(
        f"one row of {tokens} tokens does not fit into this GPU's memory ({reason.partition('. ')[0]})",
        where="training.max_tokens",
        fix="set training.gradient_checkpointing to auto if it is false, lower training.max_tokens, "
        f"{quantize}or take a machine with larger GPUs, or with more of them (training.sharding)",
    )
