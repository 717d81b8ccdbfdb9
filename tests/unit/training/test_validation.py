"""When the validation loss is measured, which step is the best, and when training ends early."""

import numpy as np
import pytest

from training.chat import Encoded
from training.ranks import Alone
from training.validation import Validation, _batches


def example(length: int) -> Encoded:
    return Encoded(np.zeros(length, np.int32), np.ones(length, np.bool_))


def watched(patience: int, *losses: float, every: int = 10) -> Validation:
    validation = Validation([example(3)], every, patience, 0, Alone())
    validation.losses = [((number + 1) * every, loss) for number, loss in enumerate(losses)]
    return validation


@pytest.mark.parametrize(("step", "due"), [(10, True), (11, False), (20, True), (25, True)])
def test_it_is_measured_every_so_many_steps_and_at_the_end(step: int, due: bool) -> None:
    assert watched(0).is_due(step, 25) is due


def test_without_examples_nothing_is_measured() -> None:
    assert not Validation([], 1, 0, 0, Alone()).is_due(1, 1)


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


def test_ranks_share_the_examples() -> None:
    class Second(Alone):
        rank, size = 1, 2

    shares = [Validation([example(n) for n in (1, 2, 3)], 1, 0, 0, ranks)._examples for ranks in (Alone(), Second())]
    assert [[len(e.ids) for e in share] for share in shares] == [[1, 2, 3], [2]]


def test_batches_hold_examples_of_about_one_length_within_the_limit() -> None:
    batches = list(_batches([example(n) for n in (3000, 10, 2000, 1500, 5000)]))
    assert [[len(e.ids) for e in batch] for batch in batches] == [[10, 1500], [2000], [3000], [5000]]
