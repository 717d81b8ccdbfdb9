"""Frequency of Python's search for reference cycles."""

import gc

_BY_DEFAULT = gc.get_threshold()


def collect_garbage_rarely() -> None:
    """Makes garbage collections rarer than Python's default of every 700 new objects; call it before imports.

    Imports, and reading many rows, create mostly long-lived objects, which each collection would traverse again.
    https://docs.python.org/3/library/gc.html#gc.set_threshold
    """
    gc.set_threshold(100_000, 50, 100)


def collect_garbage_again() -> None:
    """Restores the default frequency, and exempts the objects that exist now, such as libraries: cycles among them are
    never freed. Call it before creating objects whose memory is needed again, such as a model.
    """
    gc.collect()  # first: freeze() would keep garbage too
    gc.freeze()
    gc.set_threshold(*_BY_DEFAULT)
