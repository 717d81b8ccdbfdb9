"""The signals that end a process, as something to wait for."""

import os
import select
import signal
from contextlib import suppress


class StopSignal:
    """SIGTERM or SIGINT of this process.

    A threading.Event won't do: its `set` takes a lock that the `wait` which the handler interrupts may hold; a process
    caught so hears no signal any more.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def wait(self, seconds: float | None = None) -> bool:
        """Whether one has come, by now or within that time; None: until one comes."""
        return bool(select.select([self._reader], [], [], seconds)[0])

    def _note(self, *_: object) -> None:
        with suppress(BlockingIOError):  # full: it is known well enough
            os.write(self._writer, b".")
