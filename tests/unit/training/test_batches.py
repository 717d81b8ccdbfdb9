"""A batch that can't be split evenly is refused, with sizes that can be."""

import pytest

from contract.errors import RunError
from training.batches import check_batch_size


@pytest.mark.parametrize(("size", "ranks"), [(1, 1), (7, 1), (8, 2), (8, 8)])
def test_even_batches_pass(size: int, ranks: int) -> None:
    check_batch_size(size, ranks)


@pytest.mark.parametrize(("size", "ranks", "sizes"), [(7, 2, "6 or 8"), (3, 4, "4"), (16, 3, "15 or 18")])
def test_uneven_batches_are_refused(size: int, ranks: int, sizes: str) -> None:
    with pytest.raises(RunError) as caught:
        check_batch_size(size, ranks)
    assert caught.value.where == "training.batch_size"
    assert f"set it to {sizes} in the recipe" in caught.value.fix
