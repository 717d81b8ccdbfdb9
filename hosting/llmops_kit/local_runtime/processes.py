"""Distinguishes a process from a later one with the same pid, by its start."""

import sys
from pathlib import Path

import psutil

from llmops_kit.local_runtime.child import start_in

_YEARS = 1e9
"""Seconds: larger start times were counted since 1970, as older kits did."""


def started_at(pid: int) -> float:
    """Returns when a process started, in seconds after the machine did (on Linux).

    It stays the same while the process runs; psutil's `create_time`, since 1970, changes when the clock is set.

    Raises:
        psutil.NoSuchProcess: no process has this pid.
    """
    if sys.platform != "linux":
        return psutil.Process(pid).create_time()
    try:
        return start_in(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None


def is_running(pid: int, started: float) -> bool:
    """Returns whether the process runs that has this pid and `started_at`. A zombie does not run."""
    try:
        process = psutil.Process(pid)
        if started > _YEARS and sys.platform == "linux":
            same = abs(process.create_time() - started) < 2
        else:
            same = started_at(pid) == started
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
