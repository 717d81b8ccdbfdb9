"""Evidence is valid for every pair of rates and every rule of stopping: by exact enumeration, without simulation."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from llmops_kit.core.evidence import Tally, not_worse_evidence, worse_evidence

Evidence = Callable[[Tally, Tally | None, float], float]
GRID = [*np.linspace(0.0, 0.1, 11), *np.linspace(0.15, 1.0, 18)]
MARGINS = (0.0, 0.05, 0.3)


def lattice(evidence: Evidence, margin: float, steps: int, per_step: tuple[int, int]) -> list[NDArray[np.float64]]:
    """Returns evidence after each step, indexed by errors of the new and the old version."""
    found = []
    for step in range(steps + 1):
        new, old = (step * n for n in per_step)
        pairs = [[evidence(Tally(new, a), Tally(old, b), margin) for b in range(old + 1)] for a in range(new + 1)]
        found.append(np.exp(pairs))
    return found


def binomial(n: int, rate: float) -> NDArray[np.float64]:
    return np.array([math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(n + 1)])


def highest_expectation(values: list[NDArray[np.float64]], p: float, q: float, per_step: tuple[int, int]) -> float:
    """Returns the expectation under the best of all rules of stopping, by backward induction (Snell's envelope)."""
    chances = np.outer(binomial(per_step[0], p), binomial(per_step[1], q))
    best = values[-1]
    for value in reversed(values[:-1]):
        ahead = np.zeros_like(value)
        for (a, b), chance in np.ndenumerate(chances):
            ahead += chance * best[a : a + value.shape[0], b : b + value.shape[1]]
        best = np.maximum(value, ahead)
    return float(best[0, 0])


def chance_of_ever(
    values: list[NDArray[np.float64]], level: float, p: float, q: float, per_step: tuple[int, int]
) -> float:
    """Returns the exact probability that evidence reaches a level at some step."""
    reached = [np.where(value >= level, 1.0, 0.0) for value in values]
    return highest_expectation(reached, p, q, per_step)


@pytest.mark.parametrize("per_step", [(1, 1), (1, 3), (2, 1)])
@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize(("evidence", "sign"), [(worse_evidence, 1), (not_worse_evidence, -1)])
def test_no_rule_of_stopping_expects_more_than_one(
    evidence: Evidence, sign: int, margin: float, per_step: tuple[int, int]
) -> None:
    values = lattice(evidence, margin, 10, per_step)
    nulls = [(p, q) for p, q in itertools.product(GRID, GRID) if sign * (p - q - margin) <= 1e-12]
    edge = [(q + margin, q) for q in GRID if q + margin <= 1]
    assert max(highest_expectation(values, p, q, per_step) for p, q in (*nulls, *edge)) <= 1 + 1e-9


@pytest.mark.parametrize(("evidence", "level"), [(worse_evidence, 100.0), (not_worse_evidence, 20.0)])
def test_evidence_reaches_a_level_as_seldom_as_it_promises(evidence: Evidence, level: float) -> None:
    margin, per_step = 0.05, (1, 1)
    values = lattice(evidence, margin, 30, per_step)
    chances = [chance_of_ever(values, level, q + margin, q, per_step) for q in GRID if q + margin <= 1]
    assert max(chances) <= 1 / level
    other = (0.6, 0.0) if evidence is worse_evidence else (0.0, 0.6)
    assert chance_of_ever(values, level, *other, per_step) > 0.9, "the test would pass on evidence that is never found"


def test_without_an_old_version_the_margin_alone_is_the_limit() -> None:
    margin = 0.05
    for evidence, rates in ((worse_evidence, (0.0, 0.02, 0.05)), (not_worse_evidence, (0.05, 0.1, 1.0))):
        values = [np.exp([[evidence(Tally(n, a), None, margin)] for a in range(n + 1)]) for n in range(40)]
        assert all(highest_expectation(values, p, 0.0, (1, 0)) <= 1 + 1e-9 for p in rates)
    assert worse_evidence(Tally(3, 3), None, margin) > math.log(100)
    assert not_worse_evidence(Tally(200, 0), None, margin) > math.log(20)


@pytest.mark.parametrize("margin", [0.0, 0.05, 1.0])
def test_extreme_counts_have_finite_evidence_or_certainty(margin: float) -> None:
    for new, old in itertools.product([Tally(0, 0), Tally(7, 0), Tally(7, 7), Tally(10**6, 9), Tally(1, 1)], repeat=2):
        assert not math.isnan(worse_evidence(new, old, margin))
        assert worse_evidence(new, old, margin) < math.inf
        assert not math.isnan(not_worse_evidence(new, old, margin))
    assert worse_evidence(Tally(0, 0), Tally(0, 0), margin) == not_worse_evidence(Tally(0, 0), None, margin) == 0.0


def test_an_old_version_that_nobody_asked_proves_nothing() -> None:
    assert worse_evidence(Tally(50, 50), Tally(0, 0), 0.05) <= 0.0
