"""Rows of many lengths."""

from tests.support.runs.training import PROGRAMS, script_result


def test_training_many_lengths_needs_little_more_memory_than_the_longest() -> None:
    """32 lengths of a small model took 0.5 GB of compiled kernels when each had its own."""
    assert script_result(PROGRAMS / "unequal.py") < 256
