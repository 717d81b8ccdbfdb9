"""Waiting for what a twin does in the background."""

import time
from collections.abc import Callable
from typing import Any


def eventually(look: Callable[[], Any], seconds: float = 120) -> Any:
    """What `look` answers once it is true.

    Raises:
        AssertionError: it never is.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")
