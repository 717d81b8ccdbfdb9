"""Each rank's share of every batch. Together the ranks train the same batches, in the same order, as one process
would.
"""

from collections.abc import Iterator
from typing import Any

from llmops_kit.core.errors import RunError
from llmops_kit.training.ranks import Alone


def check_batch_size(batch_size: int, ranks: int) -> None:
    """Refuses a batch that can't be split evenly.

    Raises:
        RunError: naming the recipe's field, and valid sizes.
    """
    if rest := batch_size % ranks:
        near = [size for size in (batch_size - rest, batch_size - rest + ranks) if size]
        raise RunError(
            f"{batch_size} rows can't be split evenly over {ranks} processes (one for each GPU, or host)",
            where="training.batch_size",
            fix=f"set it to {' or '.join(map(str, near))} in the recipe, or train on another number of instances",
        )


def shared_batches(count: int, batch_size: int, seed: int, ranks: Alone) -> Any:
    """Returns a batch sampler over `count` rows. Each row is drawn once per epoch; a short last batch leaves some ranks
    without rows.

    Args:
        count: rows to draw.
        batch_size: rows of all ranks together.
        seed: determines the order, together with the epoch's number.
        ranks: the rank whose share is drawn, and their number.
    """
    from accelerate.data_loader import SeedableRandomSampler
    from torch.utils.data import BatchSampler

    class Share(BatchSampler):
        def __iter__(self) -> Iterator[list[int]]:
            for batch in super().__iter__():
                yield batch[ranks.rank :: ranks.size]

    return Share(SeedableRandomSampler(range(count), data_seed=seed), batch_size, drop_last=False)
