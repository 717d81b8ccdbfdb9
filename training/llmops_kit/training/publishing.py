"""Background copies: a checkpoint that is complete on the machine's disk is copied while the next steps run."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self


class Publisher:
    """Runs one task at a time, in a thread; starting the next one waits for it, and raises its exception."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        """Waits for the last task, so that its source files exist until it ends, whatever ends the block."""
        self._pool.shutdown()

    def start(self, work: Callable[[], None]) -> None:
        """Starts a task after the last one has ended."""
        self.wait()
        self._last = self._pool.submit(work)

    def wait(self) -> None:
        """Waits until the last task has ended.

        Raises:
            Exception: the task's exception.
        """
        last, self._last = self._last, None
        if last:
            last.result()
