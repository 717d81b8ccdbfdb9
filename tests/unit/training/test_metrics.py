"""Means of scores and losses, and their intervals."""

import pytest

from training.metrics import Scored, gain_of, mean_gain, mean_loss, mean_score


# Wilson's interval without continuity correction, as R's prop.test(x, n, correct = FALSE) gives it.
@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (48, 50, 0.8654, 0.9890), (3, 3, 0.4385, 1)],
)
def test_the_interval_of_single_rows_is_at_least_wilsons(right: int, n: int, low: float, high: float) -> None:
    found = mean_score([1.0] * right + [0.0] * (n - right), [str(i) for i in range(n)])
    assert (found.value, found.rows, found.groups) == (right / n, n, n)
    assert found.low <= low
    assert found.high >= high
    assert found.low == pytest.approx(low, abs=0.04)
    assert found.high == pytest.approx(high, abs=0.04)


def test_rows_of_one_group_count_as_one_observation() -> None:
    scores = [1.0, 1.0, 1.0, 0.0] * 10
    single = mean_score(scores, [str(i) for i in range(40)])
    grouped = mean_score(scores, [str(i // 4) for i in range(40)])
    assert grouped.groups == 10
    assert grouped.value == single.value
    assert grouped.low < single.low


def test_a_gain_is_paired() -> None:
    before, after = [0.0] * 30 + [1.0] * 30, [1.0] * 60
    groups = [str(i) for i in range(60)]
    gain = mean_gain(before, after, groups)
    assert gain.value == 0.5
    assert 0.35 < gain.low < 0.4  # one standard error is 0.065
    assert 0.6 < gain.high < 0.65
    unpaired = mean_score(after, groups).low - mean_score(before, groups).high
    assert gain.low > unpaired


def test_equal_gains_of_few_groups_prove_little() -> None:
    assert mean_gain([0.0] * 3, [1.0] * 3, ["a", "b", "c"]).low == -1.0
    assert mean_gain([0.0] * 60, [1.0] * 60, [str(i) for i in range(60)]).low == pytest.approx(0.9)


def test_bounds_are_the_same_each_time() -> None:
    scores, groups = [0.1, 0.9, 0.4, 0.7] * 10, [str(i % 13) for i in range(40)]
    assert mean_score(scores, groups) == mean_score(scores, groups)


def test_a_loss_is_the_mean_over_tokens_and_its_interval_that_of_groups() -> None:
    values, weights = [1.0, 3.0] * 20, [30, 10] * 20
    groups = [str(i // 2) for i in range(40)]
    found = mean_loss(Scored(values, weights), groups)
    assert (found.value, found.low, found.high, found.groups) == (1.5, 1.5, 1.5, 20)  # all groups have that mean
    apart = mean_loss(Scored(values, weights), [str(i) for i in range(40)])
    assert apart.value == 1.5
    assert 1.1 < apart.low < 1.35 < 1.65 < apart.high < 1.95  # one standard error is 0.137


def test_the_gain_of_a_loss_is_its_decrease_row_by_row() -> None:
    groups = [str(i) for i in range(40)]
    before, after = [2.0 + i for i in range(40)], [1.5 + i for i in range(40)]
    found = gain_of("perplexity", Scored(before, [7] * 40), Scored(after, [7] * 40), groups)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
