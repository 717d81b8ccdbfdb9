"""A clock that somebody sets while processes run."""

import pytest
from psutil import _pslinux


def set_clock(monkeypatch: pytest.MonkeyPatch, by: float) -> None:
    """Lets psutil see a clock that was set forward by seconds: Linux moves the time of the machine's start with it."""
    began = _pslinux.boot_time()
    monkeypatch.setattr(_pslinux, "boot_time", lambda: began + by)
