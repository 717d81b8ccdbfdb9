"""What all tests share."""

import gc
import signal
from collections.abc import Iterator

import pytest

from llmops_kit.core.garbage import collect_garbage_rarely

# A shell starts background jobs with SIGINT ignored, and children inherit that: Ctrl-C could not be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keeps the garbage collector off what collecting imports, the clouds' SDKs above all: it stays to the end, and
    walking it again would be a third of the time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        collect_garbage_rarely()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Collects the tests' garbage, so that what it had to close is told, and leaves nothing for pytest's own two
    collections to walk.
    """
    gc.collect()
    gc.freeze()
