"""Measures the memory of servers on this machine, each with all processes that it started.

PSS counts a page that several processes share, such as one of mapped weights, in parts: together they count it once.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

_PROC = Path("/proc")
_PARENT = 1  # of the fields after a process's name, in /proc/<pid>/stat


def unwatched() -> str:
    """Returns why memory can't be measured on this machine; empty if it can."""
    return "" if (_PROC / "self/smaps_rollup").exists() else "this system has no /proc/PID/smaps_rollup"


def trees(roots: Iterable[int]) -> dict[int, list[int]]:
    """Returns each process with all processes that it started, directly or not; the process itself is first."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):  # it ended meanwhile
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[_PARENT]), []).append(int(folder.name))
    found = {root: [root] for root in roots}
    for tree in found.values():
        for pid in tree:  # grows
            tree += children.get(pid, [])
    return found


def memory_above(tree: Iterable[int], limit: int) -> int:
    """Returns the bytes (PSS) of a tree of processes if they are more than `limit`, else 0.

    Reading PSS takes the longer the more pages a process has, so it is read only if RSS, which is never less, is above
    the limit.
    """
    pids = list(tree)
    if sum(map(_rss, pids)) <= limit:
        return 0
    used = sum(map(pss, pids))
    return used if used > limit else 0


def pss(pid: int) -> int:
    """Returns the bytes of a process; its RSS if its PSS is another user's secret, 0 if it has ended."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except PermissionError:
        return _rss(pid)
    except (OSError, StopIteration):
        return 0


def kill(tree: Iterable[int]) -> None:
    """Kills a tree of processes, the first one first: its parent then restarts it."""
    for pid in tree:
        with suppress(psutil.Error):
            psutil.Process(pid).kill()


def _rss(pid: int) -> int:
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
