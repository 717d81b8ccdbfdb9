"""SIGTERM, by which a platform asks a job to stop; it kills the job 120 s later."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from llmops_kit.training.ranks import StoppedError


class StopRequest:
    """During training, a stop request ends the job after the step with a checkpoint; elsewhere at once, since stages
    are repeated.
    """

    def __init__(self) -> None:
        self.asked = False
        self._training = False
        signal.signal(signal.SIGTERM, self.ask)

    def check(self) -> None:
        """Raises StoppedError if a stop was requested."""
        if self.asked:
            raise StoppedError("asked to stop", fix="start the run again: it resumes from the last finished stage")

    @contextmanager
    def at_a_step(self) -> Iterator[None]:
        """Lets the block check for stop requests itself."""
        self._training = True
        try:
            yield
        finally:
            self._training = False

    def ask(self, *_: object) -> None:
        """Handles the signal."""
        self.asked = True
        if not self._training:
            self.check()
