"""Waits for the signals that end a process."""

import operator
import os
import select
import signal


class StopSignal:
    """SIGTERM or SIGINT of this process.

    A threading.Event would not do: its `set` takes a lock that the interrupted `wait` may hold, and a process blocked
    like that receives no further signal. Nor would a handler in Python: a flood of signals makes it interrupt itself
    until the recursion limit. So the interpreter writes to a pipe, and the handler is a builtin, which can't be
    interrupted.
    """

    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # a full pipe wakes `wait` too
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, operator.is_)

    def wait(self, seconds: float | None = None) -> bool:
        """Returns whether a signal has arrived, waiting for up to that many seconds; None waits without limit."""
        return bool(select.select([self._reader], [], [], seconds)[0])
