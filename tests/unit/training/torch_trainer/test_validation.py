"""When the validation loss is measured, which step is the best, and when training ends early."""

from pathlib import Path

import numpy as np
import pytest

from llmops_kit.training.data.chat import Encoded
from llmops_kit.training.data.examples import Example, Examples, write_examples
from llmops_kit.training.ranks import Alone
from llmops_kit.training.torch_trainer.batch_tensors import Collator
from llmops_kit.training.torch_trainer.validation import Validation, _alike


@pytest.fixture
def examples(tmp_path: Path) -> Examples:
    sequence = Encoded(np.zeros(3, np.int32), np.array([False, True, True]))
    write_examples([Example([sequence], 1)], tmp_path / "rows.arrow")
    return Examples(tmp_path / "rows.arrow")


def watched(patience: int, *losses: float, every: int = 10, examples: Examples | None = None) -> Validation:
    validation = Validation(examples, Collator(0), every, patience, Alone())
    validation.losses = [((number + 1) * every, loss) for number, loss in enumerate(losses)]
    return validation


@pytest.mark.parametrize(("step", "due"), [(10, True), (11, False), (20, True), (25, True)])
def test_it_is_measured_every_so_many_steps_and_at_the_end(examples: Examples, step: int, due: bool) -> None:
    assert watched(0, examples=examples).is_due(step, 25) is due


def test_without_examples_nothing_is_measured() -> None:
    assert not watched(0, every=1).is_due(1, 1)


@pytest.mark.parametrize(
    ("patience", "losses", "exhausted"),
    [
        (2, (3.0, 2.0), False),
        (2, (2.0, 3.0), False),
        (2, (2.0, 3.0, 2.5), True),
        (2, (2.0, 3.0, 1.9, 2.0), False),
        (2, (2.0, 2.0, 2.0), True),  # no better is no progress
        (1, (2.0, 2.1), True),
        (0, (2.0, 3.0, 3.0, 3.0), False),
    ],
)
def test_training_ends_when_patience_is_exhausted(patience: int, losses: tuple[float, ...], exhausted: bool) -> None:
    assert watched(patience, *losses).exhausted is exhausted


def test_the_best_step_is_the_first_with_the_least_loss_and_is_chosen_with_patience_alone() -> None:
    assert watched(3, 2.0, 1.0, 1.0, 1.5).best == (20, 1.0)
    assert watched(0, 2.0, 1.0).best is None


def test_batches_hold_examples_of_about_one_length_within_the_limit() -> None:
    widths = [3000, 10, 2000, 1500, 5000]
    assert list(_alike(widths, range(5))) == [[1, 3], [2], [0], [4]]
    assert list(_alike(widths, range(1, 5, 2))) == [[1, 3]]
