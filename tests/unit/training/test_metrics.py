"""Scores of answers, and the intervals of their means."""

import pytest

from contract.documents.model import Message
from training.metrics import f1, mean_gain, mean_score, score_answer
from training.rows import Row

ROW = Row(
    messages=[Message(role="user", content="When?"), Message(role="assistant", content="On Monday morning")],
    fact="when",
    expect=["monday"],
)


@pytest.mark.parametrize(
    ("metric", "answer", "score"),
    [
        ("expect", "It is on MONDAY.", 1.0),
        ("expect", "Tomorrow", 0.0),
        ("exact", "on  monday morning", 1.0),
        ("exact", "On Monday", 0.0),
        ("f1", "On Monday morning", 1.0),
        ("f1", "on Monday", 0.8),  # precision 1, recall 2/3
        ("f1", "", 0.0),
    ],
)
def test_an_answer_is_scored_by_the_suites_metric(metric: str, answer: str, score: float) -> None:
    assert score_answer(metric, ROW, answer) == pytest.approx(score)  # type: ignore[arg-type]


def test_words_of_scripts_without_spaces_are_their_characters() -> None:
    assert f1("東京です", "東京") == pytest.approx(2 * 2 / (4 + 2))
    assert f1("the 7 cats", "the 8 cats") == pytest.approx(2 / 3)


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
