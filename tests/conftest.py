"""What all tests share."""

import gc
import signal

import pytest

# A shell starts background jobs with SIGINT ignored, and children inherit that: Ctrl-C could not be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is imported by now stays, the clouds' SDKs above all: walking it again is a third of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
