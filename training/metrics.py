"""Means of scores and of losses, paired gains, and their 95 % intervals, which take a group as one observation."""

import math
import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from contract.documents.model import Score
from contract.documents.recipe_evaluation import LIKELIHOOD, Metric

RESAMPLES = 2000
_Z = 1.959964  # 97.5 % of a normal distribution lie below it


class Scored(NamedTuple):
    """A number for each of a suite's rows, and how much each weighs in the mean."""

    values: list[float]
    """A score from 0 to 1; of `perplexity`, nats per token."""
    weights: list[int]
    """Tokens of `perplexity`; of others, 1 each."""


def summarise(metric: Metric, scored: Scored, groups: Sequence[str]) -> Score:
    """The mean of a suite's numbers, with its interval."""
    if metric == LIKELIHOOD:
        return mean_loss(scored, groups)
    return mean_score(scored.values, groups)


def gain_of(metric: Metric, before: Scored, after: Scored, groups: Sequence[str]) -> Score:
    """How much better the second numbers are, row by row, with its interval; of a loss, how much lower."""
    if metric != LIKELIHOOD:
        return mean_gain(before.values, after.values, groups)
    lower = [was - now for was, now in zip(before.values, after.values, strict=True)]
    return mean_loss(Scored(lower, after.weights), groups)


def mean_score(scores: Sequence[float], groups: Sequence[str]) -> Score:
    """Mean of scores with a 95 % interval: the wider one of a bootstrap over groups and Wilson's (1927).

    A bootstrap alone has no width where all scores are equal. Wilson's takes each group as one observation, and holds
    for any score from 0 to 1, since none varies more than one of 0s and 1s with the same mean.
    """
    mean, n = statistics.fmean(scores), len(set(groups))
    low, high = _bootstrap(scores, groups)
    centre = (mean + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
    half = _Z / (1 + _Z * _Z / n) * math.sqrt(mean * (1 - mean) / n + _Z * _Z / (4 * n * n))
    return _score(mean, max(0.0, min(low, centre - half)), min(1.0, max(high, centre + half)), len(scores), n)


def mean_gain(before: Sequence[float], after: Sequence[float], groups: Sequence[str]) -> Score:
    """Mean of paired differences, from -1 to 1, with a 95 % interval.

    It is that of a bootstrap over groups, but leaves room for groups of a kind that none of n was: at most 3/n of all,
    with 95 % confidence (rule of three, Hanley and Lippman-Hand 1983), whatever their difference.
    """
    differences = [now - was for was, now in zip(before, after, strict=True)]
    mean, n = statistics.fmean(differences), len(set(groups))
    low, high = _bootstrap(differences, groups)
    unseen = min(1.0, 3 / n)
    return _score(
        mean, min(low, mean - (mean + 1) * unseen), max(high, mean + (1 - mean) * unseen), len(differences), n
    )


def mean_loss(scored: Scored, groups: Sequence[str]) -> Score:
    """Mean over all tokens, with the 95 % interval of a bootstrap over groups: nothing bounds a loss from above.

    It is too narrow for few groups; a gate asks for at least MIN_GATE_GROUPS.
    """
    total = math.fsum(value * weight for value, weight in zip(*scored, strict=True))
    low, high = _bootstrap(scored.values, groups, scored.weights)
    return _score(total / sum(scored.weights), low, high, len(scored.values), len(set(groups)))


def _score(value: float, low: float, high: float, rows: int, groups: int) -> Score:
    return Score(value=round(value, 4), low=round(low, 4), high=round(high, 4), rows=rows, groups=groups)


def _bootstrap(values: Sequence[float], groups: Sequence[str], weights: Sequence[int] = ()) -> tuple[float, float]:
    """Percentiles 2.5 and 97.5 of the mean over resampled groups; equal input gives equal bounds."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for value, group, weight in zip(values, groups, weights or [1] * len(values), strict=True):
        sums[group][0] += value * weight
        sums[group][1] += weight
    each = [sums[group] for group in sorted(sums)]
    rnd = random.Random(0)
    means = []
    for _ in range(RESAMPLES):
        drawn = rnd.choices(each, k=len(each))
        means.append(math.fsum(total for total, _ in drawn) / math.fsum(weight for _, weight in drawn))
    means.sort()
    return means[round(0.025 * RESAMPLES)], means[round(0.975 * RESAMPLES) - 1]
