"""A diverged run is stopped, an uneven one is not."""

import math

import pytest

from training.guard import DivergedError, guard

CALM = [2.0, 1.8, 2.2, 1.9] * 5


@pytest.mark.scorecard("nan")
@pytest.mark.parametrize(
    ("loss", "norm", "before"),
    [(math.nan, 1.0, []), (math.inf, 1.0, []), (1.0, math.nan, CALM), (1.0, math.inf, CALM), (8.5, 1.0, CALM)],
)
def test_divergence_names_the_step(loss: float, norm: float, before: list[float]) -> None:
    with pytest.raises(DivergedError) as caught:
        guard(loss, norm, before, 42)
    assert caught.value.where == "training step 42"
    assert "learning_rate" in caught.value.fix


@pytest.mark.parametrize(
    ("loss", "before"),
    [(7.0, CALM), (8.5, CALM[:10]), (0.5, [0.01] * 20)],
    ids=["less-than-four-times", "too-early", "small-in-nats"],
)
def test_uneven_losses_go_on(loss: float, before: list[float]) -> None:
    guard(loss, 1.0, before, 42)
