"""Evidence from counts on whether a new version fails more often than the old one, valid however often it is checked.

An e-process by universal inference: the likelihood of the counts under a prior on both error rates, divided by their
highest likelihood under the null hypothesis. With the true rates in the divisor, it is a product of two martingales
that start at 1; the highest likelihood is never lower. So for every pair of rates in the null hypothesis, and for any
rule of stopping, its expectation is at most 1, and by Ville's inequality it ever exceeds a number c with a probability
of at most 1/c. The old version's rate need not be known, and requests may reach both versions in any order and share.
It assumes that a version's requests fail independently, at a rate that doesn't change during the rollout.

Wasserman, Ramdas, Balakrishnan: Universal inference (2020), https://arxiv.org/abs/1912.11436
Ramdas, Grünwald, Vovk, Shafer: Game-theoretic statistics and safe anytime-valid inference (2023),
https://arxiv.org/abs/2210.01948
"""

import math
from dataclasses import dataclass

_ANY_RATE = (1.0, 3.0)
"""Beta prior of a version that may do anything. A prior affects how soon evidence is found, not its validity."""
_LOW_RATE = (0.5, 20.0)
"""Beta prior of a version that works: half of its mass is below 1.1 %."""
_PRECISION = 1e-12


@dataclass(frozen=True)
class Tally:
    """Requests of a version, and how many of them failed: 0 to all of them."""

    requests: int
    errors: int


def worse_evidence(new: Tally, old: Tally | None, margin: float) -> float:
    """Returns the logarithm of the evidence that the new version's error rate is above the old one's plus a margin.

    Args:
        new: counts of the new version.
        old: counts of the old version; None: it can't be compared, and counts as one that never fails.
        margin: share of requests, 0 to 1.
    """
    return _mixture(new, _ANY_RATE) + _mixture(old, _LOW_RATE) - _highest(new, old, margin, above=False)


def not_worse_evidence(new: Tally, old: Tally | None, margin: float) -> float:
    """Returns the logarithm of the evidence that the new version's error rate is below the old one's plus a margin.

    Arguments as of `worse_evidence`.
    """
    return _mixture(new, _LOW_RATE) + _mixture(old, _LOW_RATE) - _highest(new, old, margin, above=True)


def _highest(new: Tally, old: Tally | None, margin: float, *, above: bool) -> float:
    """Returns the highest log likelihood among all pairs of rates whose difference is at least (`above`) or at most the
    margin.
    """
    if old is None:
        return _likelihood(new, max(margin, _rate(new)) if above else min(margin, _rate(new)))
    difference = _rate(new) - _rate(old)
    free = not new.requests or not old.requests
    if free or (difference >= margin if above else difference <= margin):
        return _likelihood(new, _rate(new)) + _likelihood(old, _rate(old))
    # The likelihood is concave, so its highest point is on the edge, where the new rate is the old one plus the margin.
    low, high = 0.0, 1.0 - margin
    while high - low > _PRECISION:
        middle = (low + high) / 2
        rising = _slope(new, middle + margin) + _slope(old, middle) > 0
        low, high = (middle, high) if rising else (low, middle)
    return max(_likelihood(new, min(1.0, rate + margin)) + _likelihood(old, rate) for rate in (low, high))


def _rate(tally: Tally) -> float:
    return tally.errors / max(1, tally.requests)


def _likelihood(tally: Tally, rate: float) -> float:
    """Returns the log likelihood of a series of requests with these counts."""
    parts = ((tally.errors, rate), (tally.requests - tally.errors, 1.0 - rate))
    if any(number and share <= 0.0 for number, share in parts):
        return -math.inf
    return sum(number * math.log(share) for number, share in parts if number)


def _slope(tally: Tally, rate: float) -> float:
    """Returns the derivative of `_likelihood` by the rate, within 0 to 1."""
    successes = tally.requests - tally.errors
    return (tally.errors / rate if tally.errors else 0.0) - (successes / (1.0 - rate) if successes else 0.0)


def _mixture(tally: Tally | None, prior: tuple[float, float]) -> float:
    """Returns the log likelihood of a series of requests under a Beta prior on its rate."""
    if tally is None:
        return 0.0
    a, b = prior
    return _log_beta(a + tally.errors, b + tally.requests - tally.errors) - _log_beta(a, b)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
