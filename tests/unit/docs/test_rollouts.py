"""The numbers of requests in docs/how-to/rollouts.md are those that the verdict takes."""

import re

import numpy as np
import pytest

from llmops_kit.core.rollout import Counts, Limits, RolloutOutcome, verdict
from tests.support.checkout import CHECKOUT

PAGE = (CHECKOUT / "docs/how-to/rollouts.md").read_text()
ROWS = re.findall(r"^\| ([\d.]+) % \| ([\d.]+) % \| ([\d.]+) % \| ([a-z ]+) \| (\d+) \| (\d+) \|$", PAGE, re.M)
CANARY = 0.1
_MOST = 10_000


def requests_until(outcome: RolloutOutcome, new: float, old: float, limit: float) -> list[int]:
    """Returns how many requests the canary has had when a rollout is decided, in half and in nine of ten of 100
    rollouts, to two digits.
    """
    random, found = np.random.default_rng(37), list[int]()
    for _ in range(100):
        asked = failed = others = others_failed = 0
        decided = None
        while decided is not outcome and asked < _MOST:
            more = max(1, asked // 20)  # a look after each request would change no digit that is shown
            rest = round(more * (1 - CANARY) / CANARY)
            asked, failed = asked + more, failed + int(random.binomial(more, new))
            others, others_failed = others + rest, others_failed + int(random.binomial(rest, old))
            decided = verdict(Counts(asked, failed), Counts(others, others_failed), Limits(limit)).outcome
        found.append(asked)
    return [int(float(f"{n:.2g}")) for n in np.percentile(found, [50, 90])]


def test_the_table_shows_both_verdicts() -> None:
    assert {row[3] for row in ROWS} == {RolloutOutcome.WORSE, RolloutOutcome.NOT_WORSE}
    assert {row[0] for row in ROWS if row[3] == RolloutOutcome.WORSE} >= {"30", "12", "6"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row[:4]))
def test_a_row_is_what_the_verdict_takes(row: tuple[str, ...]) -> None:
    new, old, limit = (float(percent) / 100 for percent in row[:3])
    assert requests_until(RolloutOutcome(row[3]), new, old, limit) == [int(row[4]), int(row[5])]
