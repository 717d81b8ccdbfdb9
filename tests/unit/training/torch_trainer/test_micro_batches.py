"""As many rows at a time as fit: on processors by their tokens, on a GPU by what trials took."""

import pytest

from llmops_kit.training.data.layouts import ALL, rows_of
from llmops_kit.training.torch_trainer.micro_batches import (
    MemoryUse,
    MicroBatchCollator,
    rows_on_cpu,
    rows_on_gpu,
    too_large,
)

GB = 1 << 30


@pytest.mark.parametrize(("batch", "longest", "rows"), [(16, 100, 16), (16, 1024, 8), (64, 3000, 2), (4, 100_000, 1)])
def test_rows_on_processors_are_bound_by_their_tokens(batch: int, longest: int, rows: int) -> None:
    assert rows_on_cpu(batch, longest) == rows


@pytest.mark.parametrize(
    ("batch", "a_row", "rows", "tried"),
    [
        (16, 1, 4, [1, 2, 4]),  # 8 rows would take 16 + 8 of 24
        (3, 1, 3, [1, 2, 3]),  # the whole batch
        (1, 7, 1, [1]),
        (16, 7, 1, [1]),
    ],
)
def test_rows_on_a_gpu_are_doubled_while_the_next_trial_will_fit(
    batch: int, a_row: int, rows: int, tried: list[int]
) -> None:
    trials: list[int] = []

    def trial(rows: int) -> MemoryUse:
        trials.append(rows)
        assert 16 + a_row * rows < 24
        return MemoryUse((16 + a_row * rows) * GB, 16 * GB)

    assert rows_on_gpu(batch, 24 * GB, trial) == rows
    assert trials == tried


def test_all_ranks_take_what_fits_on_each() -> None:
    asked: list[bool] = []

    def one_does(asks: bool) -> bool:
        asked.append(asks)
        return True

    assert rows_on_gpu(8, 24 * GB, lambda _: MemoryUse(2 * GB, GB), one_does) == 1
    assert asked == [False]


def test_parts_keep_the_order_of_rows() -> None:
    assert MicroBatchCollator(tuple, 2)([1, 2, 3, 4, 5]) == [(1, 2), (3, 4), (5,)]


def test_a_row_that_fits_nowhere_names_qlora_and_other_machines() -> None:
    error = too_large("CUDA out of memory. Tried to allocate 20 MiB", 4096, may_quantize=True)
    assert error.where == "training.max_tokens"
    assert "4096 tokens" in error.what
    assert all(way in error.fix for way in ("training.max_tokens", "`adapter: qlora`", "machine with larger GPUs"))
    assert "qlora" not in too_large("CUDA out of memory", 4096, may_quantize=False).fix


def test_sequences_share_rows_by_first_fit_and_keep_their_own_without_packing() -> None:
    assert rows_of([3, 19, 4, 2], 0) == ([[0], [1], [2], [3]], 32)  # a multiple of 16: fewer shapes
    assert rows_of([3, 9, 4, 2], 10) == ([[1], [2, 0, 3]], 9)
    assert rows_of([3, 9, 4, 2], ALL) == ([[1, 2, 0, 3]], 18)
    assert rows_of([], 10) == ([], 1)
