"""Means of scores and of losses, paired gains, and their 95 % intervals, in which a group is one observation."""

import math
import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from llmops_kit.core.documents.model import Score
from llmops_kit.core.documents.recipe_evaluation import LIKELIHOOD, Metric

RESAMPLES = 2000
_Z = 1.959964  # 97.5 % of a normal distribution lie below it


class Scored(NamedTuple):
    """A number for each of a suite's rows, and its weight in the mean."""

    values: list[float]
    """A score from 0 to 1; of `perplexity`, nats per token."""
    weights: list[int]
    """Tokens for `perplexity`; for others, 1 each."""


def summarise(metric: Metric, scored: Scored, groups: Sequence[str]) -> Score:
    """Returns the mean of a suite's numbers, with its interval."""
    if metric == LIKELIHOOD:
        return mean_loss(scored, groups)
    return mean_score(scored.values, groups)


def gain_of(metric: Metric, before: Scored, after: Scored, groups: Sequence[str]) -> Score:
    """Returns the mean improvement of the second numbers, row by row, with its interval; for a loss, its decrease."""
    if metric != LIKELIHOOD:
        return mean_gain(before.values, after.values, groups)
    lower = [was - now for was, now in zip(before.values, after.values, strict=True)]
    return mean_loss(Scored(lower, after.weights), groups)


def mean_score(scores: Sequence[float], groups: Sequence[str]) -> Score:
    """Returns the mean of scores with a 95 % interval: the wider one of a bootstrap over groups and Wilson's (1927).

    A bootstrap alone has no width where all scores are equal. Wilson's takes each group as one observation, and holds
    for any score from 0 to 1, since none varies more than one of 0s and 1s with the same mean.
    """
    mean, n = statistics.fmean(scores), len(set(groups))
    low, high = _bootstrap(scores, groups)
    centre = (mean + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
    half = _Z / (1 + _Z * _Z / n) * math.sqrt(mean * (1 - mean) / n + _Z * _Z / (4 * n * n))
    return _score(mean, max(0.0, min(low, centre - half)), min(1.0, max(high, centre + half)), len(scores), n)


def mean_gain(before: Sequence[float], after: Sequence[float], groups: Sequence[str]) -> Score:
    """Returns the mean of paired differences, from -1 to 1, with a 95 % interval.

    The interval is Bonett and Price's (2012, J Educ Behav Stat 37:479) for paired shares, which Fagerland, Lydersen and
    Laake (2014, Stat Med 33:2850) recommend: Wald's, after two groups were added, one that gained 1 and one that lost
    1. Here a difference is any number in between, and the variance that of a ratio over groups of unequal sizes. A
    bootstrap has no width where all differences are equal, and covers 90 % or less where a few of 30 rows lost all.

    Equal answers to n groups have an interval of +-2.77/(n + 2). An interval that is valid for all differences can't be
    much narrower: with 95 % confidence, n groups can miss a kind that is 3/n of all (Hanley and Lippman-Hand 1983).
    """
    sums = _by_group([now - was for was, now in zip(before, after, strict=True)], groups)
    n, rows = len(sums), len(before)
    size = rows / n
    total = math.fsum(each for each, _ in sums)
    centre = total / (rows + 2 * size)
    residuals = [each - centre * count for each, count in sums] + [size - centre * size, -size - centre * size]
    half = _Z * math.sqrt(math.fsum(each * each for each in residuals)) / (rows + 2 * size)
    return _score(total / rows, max(-1.0, centre - half), min(1.0, centre + half), rows, n)


def mean_loss(scored: Scored, groups: Sequence[str]) -> Score:
    """Returns the mean over all tokens, with the 95 % interval of a bootstrap over groups, since a loss has no upper
    bound.

    It is too narrow for few groups; a gate asks for at least MIN_GATE_GROUPS.
    """
    total = math.fsum(value * weight for value, weight in zip(*scored, strict=True))
    low, high = _bootstrap(scored.values, groups, scored.weights)
    return _score(total / sum(scored.weights), low, high, len(scored.values), len(set(groups)))


def _score(value: float, low: float, high: float, rows: int, groups: int) -> Score:
    return Score(value=round(value, 4), low=round(low, 4), high=round(high, 4), rows=rows, groups=groups)


def _bootstrap(values: Sequence[float], groups: Sequence[str], weights: Sequence[int] = ()) -> tuple[float, float]:
    """Returns percentiles 2.5 and 97.5 of the mean over resampled groups; equal input gives equal bounds."""
    each = _by_group(values, groups, weights)
    totals = [total for total, _ in each]
    weighs_alike = len({weight for _, weight in each}) == 1
    whole = len(each) * each[0][1]
    if len(set(each)) == 1:  # every resample is the same
        mean = math.fsum(totals) / whole
        return mean, mean
    rnd = random.Random(0)
    means = []
    for _ in range(RESAMPLES):
        if weighs_alike:
            means.append(math.fsum(rnd.choices(totals, k=len(each))) / whole)
        else:
            drawn = rnd.choices(each, k=len(each))
            means.append(math.fsum([total for total, _ in drawn]) / math.fsum([weight for _, weight in drawn]))
    means.sort()
    return means[round(0.025 * RESAMPLES)], means[round(0.975 * RESAMPLES) - 1]


def _by_group(values: Sequence[float], groups: Sequence[str], weights: Sequence[int] = ()) -> list[tuple[float, float]]:
    """Returns the weighted sum of each group's values, and its weight, in the order of the groups' names."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for value, group, weight in zip(values, groups, weights or [1] * len(values), strict=True):
        sums[group][0] += value * weight
        sums[group][1] += weight
    return [(sums[group][0], sums[group][1]) for group in sorted(sums)]
