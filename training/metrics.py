"""Metrics: a score from 0 to 1 for an answer, and the intervals of their means."""

import math
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence

from contract.documents.model import Score
from contract.documents.recipe_evaluation import Metric
from training.rows import Row
from training.words import fold, found, words_of

RESAMPLES = 2000
_Z = 1.959964  # 97.5 % of a normal distribution lie below it


def score_answer(metric: Metric, row: Row, answer: str) -> float:
    """The score of an answer to a row, from 0 to 1."""
    if metric == "expect":
        return float(found(answer, row.expect))
    if metric == "exact":
        return float(fold(answer) == fold(row.answer))
    return f1(answer, row.answer)


def f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall of words, letter case aside (as in SQuAD, Rajpurkar et al. 2016)."""
    given, wanted = (Counter(words_of(text)) for text in (answer, reference))
    shared = (given & wanted).total()
    return 2 * shared / (given.total() + wanted.total()) if shared else 0.0


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


def _score(value: float, low: float, high: float, rows: int, groups: int) -> Score:
    return Score(value=round(value, 4), low=round(low, 4), high=round(high, 4), rows=rows, groups=groups)


def _bootstrap(values: Sequence[float], groups: Sequence[str]) -> tuple[float, float]:
    """Percentiles 2.5 and 97.5 of the mean over resampled groups; equal input gives equal bounds."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for value, group in zip(values, groups, strict=True):
        sums[group][0] += value
        sums[group][1] += 1
    each = [sums[group] for group in sorted(sums)]
    rnd = random.Random(0)
    means = []
    for _ in range(RESAMPLES):
        drawn = rnd.choices(each, k=len(each))
        means.append(math.fsum(total for total, _ in drawn) / math.fsum(count for _, count in drawn))
    means.sort()
    return means[round(0.025 * RESAMPLES)], means[round(0.975 * RESAMPLES) - 1]
