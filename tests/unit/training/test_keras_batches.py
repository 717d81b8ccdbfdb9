"""Batches of the TensorFlow trainer: only the assistant's tokens have weight, and each row is trained once an epoch."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.training.data.chat import Encoded
from llmops_kit.training.data.examples import Example, Examples, write_examples
from llmops_kit.training.keras_trainer.batches import BatchOrder, micro_batches, permutation


def row(*answer: bool, first: int = 10) -> Example:
    ids = np.arange(first, first + len(answer), dtype=np.int32)
    return Example([Encoded(ids, np.array(answer, np.bool_))], 1)


def test_only_tokens_that_bear_loss_have_weight_and_all_weights_of_a_step_are_one() -> None:
    rows = [row(False, True, True), row(False, False, True, True, first=20), row(False, True, first=30)]
    for replicas, shapes in ((1, [(2, 4), (1, 2)]), (2, [(2, 4), (2, 2)])):
        parts = list(micro_batches(rows, 2, 0, replicas))
        assert [part.token_ids.shape for part in parts] == shapes
        assert [part.last for part in parts] == [False, True]
        weighted = [part.token_ids[part.sample_weight > 0].tolist() for part in parts]
        assert weighted == [[11, 12, 22, 23], [31]]
        assert sum(part.sample_weight.sum() for part in parts) == pytest.approx(1)
        assert np.unique(np.concatenate([part.sample_weight.ravel() for part in parts])).size == 2


def test_the_order_is_torchs() -> None:
    # torch.randperm(10, generator=torch.Generator().manual_seed(7))
    assert permutation(10, 7) == [5, 0, 3, 4, 1, 7, 9, 6, 8, 2]
    assert permutation(1, 3) == [0]


def test_a_run_that_goes_on_trains_the_rows_that_are_left(tmp_path: Path) -> None:
    write_examples((row(False, True, first=2 * i) for i in range(7)), tmp_path / "rows.arrow")
    options = TrainingRecipe(epochs=2, batch_size=3, learning_rate=1e-3)
    order = BatchOrder(Examples(tmp_path / "rows.arrow"), options, 0, 1)
    assert (order.steps, order.tokens_per_step) == (6, 14 / 3)
    whole = [part.token_ids[:, 0].tolist() for part in order.after(0)]
    assert [sorted(itertools.chain(*epoch)) for epoch in (whole[:3], whole[3:])] == [[0, 2, 4, 6, 8, 10, 12]] * 2
    assert whole[:3] != whole[3:]
    for step in (1, 3, 5):
        assert [part.token_ids[:, 0].tolist() for part in order.after(step)] == whole[step:]
