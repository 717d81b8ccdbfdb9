"""Scores and gate."""

import pytest

from contract.documents.model import Score, SuiteResult
from contract.documents.recipe import GateCheck
from training.scoring import decide, score


# Wilson's interval without continuity correction, as R's prop.test(x, n, correct = FALSE) gives it.
@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (48, 50, 0.8654, 0.9890)],
)
def test_interval_is_wilsons(right: int, n: int, low: float, high: float) -> None:
    found = score([True] * right + [False] * (n - right))
    assert found == Score(value=right / n, low=low, high=high, n=n)


def result(suite: str, before: float, after: float) -> SuiteResult:
    def share(value: float) -> Score:
        return Score(value=value, low=0, high=1, n=10)

    return SuiteResult(suite=suite, split="new_phrasings", before=share(before), after=share(after))


@pytest.mark.parametrize(
    ("before", "after", "passed", "word"),
    [
        (0.1, 0.9, True, "at least"),
        (0.1, 0.8, True, "at least"),
        (0.1, 0.79, False, "0.79 of facts found, which is less than 0.80"),
        (0.5, 0.95, False, "gain over the base model +0.45, which is less than 0.50"),
        (0.4, 0.9, True, "gain"),  # 0.9 - 0.4 is a little less than 0.5 in floating point
    ],
)
def test_gate_holds_minimum_and_gain(before: float, after: float, passed: bool, word: str) -> None:
    gate = decide([GateCheck(suite="facts", minimum=0.8, minimum_gain=0.5)], [result("facts", before, after)])
    assert gate.passed is passed
    assert len(gate.reasons) == 2
    assert word in " ".join(gate.reasons)


def test_one_failed_suite_fails_the_gate() -> None:
    gate = decide(
        [GateCheck(suite="one", minimum=0.5), GateCheck(suite="two", minimum=0.5)],
        [result("one", 0, 0.4), result("two", 0, 0.6)],
    )
    assert not gate.passed
    assert [("less" in reason) for reason in gate.reasons] == [True, False]
