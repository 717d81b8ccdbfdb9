"""Rows of many lengths."""

import json

from tests.support.runs.training import PROGRAMS, run_script


def test_training_many_lengths_needs_little_more_memory_than_the_longest() -> None:
    """32 lengths of a small model took 0.5 GB of compiled kernels when each had its own."""
    assert json.loads(run_script(PROGRAMS / "unequal.py")[-1]) < 256
