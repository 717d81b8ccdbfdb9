"""Frequency of Python's search for reference cycles."""

import gc

_BY_DEFAULT = gc.get_threshold()


def collect_garbage_rarely() -> None:
    """Let this process look for reference cycles less often than after every 700 new objects; call it before imports.

    Importing libraries makes little but objects that stay, and keeping many rows too: each collection walks them again.
    https://docs.python.org/3/library/gc.html#gc.set_threshold
    """
    gc.set_threshold(100_000, 50, 100)


def collect_garbage_again() -> None:
    """Let this process look for cycles as often as by default, but not in what is there now, such as libraries: cycles
    among it are never freed. Call it before anything is made whose memory is needed again, such as a model.
    """
    gc.collect()  # or garbage would stay too
    gc.freeze()
    gc.set_threshold(*_BY_DEFAULT)
