"""Means of scores and losses, and their intervals."""

import math
import random

import pytest

from llmops_kit.core.documents.recipe_evaluation import GateCheck
from llmops_kit.training.evaluation.score_means import Scored, gain_of, mean_gain, mean_loss, mean_score


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
    assert 0.33 < gain.low < 0.38  # one standard error is 0.065
    assert 0.58 < gain.high < 0.63
    unpaired = mean_score(after, groups).low - mean_score(before, groups).high
    assert gain.low > unpaired


# Bonett and Price's interval by hand: b rows gained 1 of n, c lost 1.
@pytest.mark.parametrize(("b", "c", "n"), [(0, 0, 30), (3, 1, 40), (60, 0, 60), (0, 2, 30)])
def test_the_interval_of_paired_shares_is_bonett_and_prices(b: int, c: int, n: int) -> None:
    before, after = [0.0] * b + [1.0] * c + [0.0] * (n - b - c), [1.0] * b + [0.0] * (n - b)
    found = mean_gain(before, after, [str(i) for i in range(n)])
    gained, lost = (b + 1) / (n + 2), (c + 1) / (n + 2)
    half = 1.959964 * math.sqrt((gained + lost - (gained - lost) ** 2) / (n + 2))
    assert found.value == pytest.approx((b - c) / n, abs=1e-4)
    assert found.low == pytest.approx(max(-1, gained - lost - half), abs=1e-4)
    assert found.high == pytest.approx(min(1, gained - lost + half), abs=1e-4)


def test_equal_gains_of_few_groups_prove_little() -> None:
    assert mean_gain([0.0] * 3, [1.0] * 3, ["a", "b", "c"]).low < 0
    assert mean_gain([0.0] * 60, [1.0] * 60, [str(i) for i in range(60)]).low == pytest.approx(0.905, abs=0.001)


@pytest.mark.parametrize("margin", [0.02, 0.05, 0.08])
def test_a_margins_groups_are_the_fewest_whose_equal_answers_pass_it(margin: float) -> None:
    least = GateCheck(suite="facts", not_worse_than="production", margin=margin).least_groups
    low, lower = (mean_gain([1.0] * n, [1.0] * n, [str(i) for i in range(n)]).low for n in (least, least - 1))
    assert lower < -margin <= low


@pytest.mark.parametrize("n", [30, 60])
def test_the_interval_of_a_gain_holds_the_truth_as_often_as_it_says(n: int) -> None:
    """Exactly, over all outcomes of n rows of which some gain 1 and some lose 1, rare losses above all."""
    groups = [str(i) for i in range(n)]
    intervals = {}
    for lost in range(n + 1):
        for gained in range(n + 1 - lost):
            after = [1.0] * gained + [0.0] * lost + [0.5] * (n - gained - lost)
            before = [0.0] * gained + [1.0] * lost + [0.5] * (n - gained - lost)
            found = mean_gain(before, after, groups)
            intervals[lost, gained] = found.low, found.high
    for worse, better in [*((each / 100, 0.0) for each in range(1, 40, 3)), (0.05, 0.05), (0.1, 0.3), (0.02, 0.6)]:
        held = sum(
            math.comb(n, lost) * math.comb(n - lost, gained)
            * worse**lost * better**gained * (1 - worse - better) ** (n - lost - gained)
            for (lost, gained), (low, high) in intervals.items()
            if low <= better - worse <= high
        )  # fmt: skip
        assert held > 0.93, (worse, better)  # 0.935 at worst, 0.97 in the mean


def test_the_interval_of_a_gain_holds_for_scores_in_groups_of_unequal_sizes() -> None:
    """Seeded draws: most rows hardly change, some lose much, and rows of one group alike."""
    rnd, held = random.Random(1), 0
    for _ in range(300):
        before, after, groups = [], [], []
        for group in range(40):
            loss = rnd.betavariate(0.3, 3)  # its mean is 1/11
            for _ in range(rnd.randint(1, 5)):
                before.append(1.0)
                after.append(1.0 - loss)
                groups.append(str(group))
        found = mean_gain(before, after, groups)
        held += found.low <= -1 / 11 <= found.high
    assert held > 0.94 * 300


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
