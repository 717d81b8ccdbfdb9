"""A diverged run is stopped, an uneven one is not."""

import math

import pytest

from llmops_kit.training.guard import DivergedError, guard

CALM = [2.0, 1.8, 2.2, 1.9] * 5


@pytest.mark.scorecard("nan")
@pytest.mark.parametrize(
    ("loss", "norm", "before"),
    [(math.nan, 1.0, []), (math.inf, 1.0, []), (1.0, math.nan, CALM), (1.0, math.inf, CALM)],
)
def test_divergence_names_the_step(loss: float, norm: float, before: list[float]) -> None:
    with pytest.raises(DivergedError) as caught:
        guard(loss, norm, before, 42)
    assert caught.value.where == "training step 42"
    assert "learning_rate" in caught.value.fix


def test_a_jump_that_lasts_is_a_divergence_that_began_with_its_first_step() -> None:
    with pytest.raises(DivergedError, match=r"from about 1\.95 to 8\.50") as caught:
        guard(8.7, 1.0, [*CALM, 8.5, 9.0], 42)
    assert caught.value.where == "training step 40"


@pytest.mark.parametrize(
    ("loss", "before"),
    [
        (7.0, [*CALM, 7.0, 7.0]),
        (8.5, [*CALM[:10], 8.5, 8.5]),
        (0.5, [*[0.01] * 20, 0.5, 0.5]),
        (8.5, [*CALM, 2.0, 1.9]),
        (2.0, [*CALM, 8.5, 1.9]),
    ],
    ids=["less-than-four-times", "too-early", "small-in-nats", "one-unusual-batch", "one-before"],
)
def test_uneven_losses_go_on(loss: float, before: list[float]) -> None:
    guard(loss, 1.0, before, 42)
