"""Waits for the signals that end a process."""

import operator
import os
import select
import signal


class StopSignal:
    """SIGTERM or SIGINT of this process.

    A threading.Event won't do: its `set` takes a lock that the `wait` which the handler interrupts may hold; a process
    caught so hears no signal any more. Nor will a handler in Python: a flood of signals makes it interrupt itself until
    the recursion limit. So the interpreter writes to a pipe, and the handler is a builtin, which nothing interrupts.
    """

    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # full: it is known well enough
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, operator.is_)

    def wait(self, seconds: float | None = None) -> bool:
        """Returns whether a signal has come, by now or within that time; None: waits for one."""
        return bool(select.select([self._reader], [], [], seconds)[0])
