"""Work beside the training: a checkpoint that is whole on the machine's disk is copied while the next steps run."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self


class Publisher:
    """Does one work at a time, in a thread; the next one waits for it, and raises what it raised."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        """Lets the last one end; whatever else ends the block, its files stay until then."""
        self._pool.shutdown()

    def start(self, work: Callable[[], None]) -> None:
        """Does a work after the last one."""
        self.wait()
        self._last = self._pool.submit(work)

    def wait(self) -> None:
        """Until the last work is done.

        Raises:
            Exception: what it raised.
        """
        last, self._last = self._last, None
        if last:
            last.result()
