"""Progress of a collect: a line every few seconds."""

import threading
import time
from collections.abc import Callable

from llmops_kit.cli.store.remote_checks import in_words

_EVERY_S = 2


class CollectProgress:
    """Counts files and bytes; thread-safe."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._lock = say, threading.Lock()
        self._of, self._total, self._done, self._bytes, self._said = "", 0, 0, 0, time.monotonic()
        self.fetched = 0

    def begin(self, source: str, total: int) -> None:
        """Begins a source with so many files."""
        with self._lock:
            self._of, self._total, self._done, self._bytes = source, total, 0, 0

    def add_bytes(self, count: int) -> None:
        """Counts received bytes."""
        self._count(count, 0)

    def add_file(self, *, fetched: bool) -> None:
        """Counts a finished file, which was fetched or existed before."""
        self.fetched += fetched
        self._count(0, 1)

    def _count(self, size: int, files: int) -> None:
        with self._lock:
            self._bytes += size
            self._done += files
            if (now := time.monotonic()) - self._said < _EVERY_S:
                return
            self._said = now
            line = f"{self._of}: {self._done} of {self._total} files, {in_words(self._bytes)} fetched"
        self._say(line)
