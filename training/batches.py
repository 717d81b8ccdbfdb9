"""Each rank's share of every batch: together the same batches, in the same order, as one process would train."""

from collections.abc import Iterator
from typing import Any

from contract.errors import RunError
from training.ranks import Alone


def check_batch_size(batch_size: int, ranks: int) -> None:
    """Refuses a batch that can't be split evenly.

    Raises:
        RunError: naming the recipe's field, and sizes that can be.
    """
    if rest := batch_size % ranks:
        near = [size for size in (batch_size - rest, batch_size - rest + ranks) if size]
        raise RunError(
            f"{batch_size} rows can't be split evenly over {ranks} processes (one for each GPU, or host)",
            where="training.batch_size",
            fix=f"set it to {' or '.join(map(str, near))} in the recipe, or train on another number of instances",
        )


def shared_batches(count: int, batch_size: int, seed: int, ranks: Alone) -> Any:
    """Yields a batch sampler over `count` rows. Each row is drawn once an epoch; a short last batch leaves some ranks
    none.

    Args:
        count: rows to draw.
        batch_size: rows of all ranks together.
        seed: with the epoch's number it gives the epoch's order.
        ranks: whose share.
    """
    from accelerate.data_loader import SeedableRandomSampler
    from torch.utils.data import BatchSampler

    class Share(BatchSampler):
        def __iter__(self) -> Iterator[list[int]]:
            for batch in super().__iter__():
                yield batch[ranks.rank :: ranks.size]

    return Share(SeedableRandomSampler(range(count), data_seed=seed), batch_size, drop_last=False)
