"""The rhythm in which a twin's state is written: soon after a change, as a whole, and by and by what changes always."""

import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from twins.core.twin import BaseTwin

DEBOUNCE_SECONDS = 0.2
SELDOM_SECONDS = 5.0
"""How long what changes all the time (`BaseTwin.seldom`) may be unwritten."""
_RESTS = 2  # times that a writing took are between it and the next: nothing else runs meanwhile
log = logging.getLogger("twins")


class Keeper(ABC):
    """Writes the state of a twin soon after it changed, and reads it back."""

    def __init__(self, twin: BaseTwin) -> None:
        self._base = twin
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._failure = ""
        self._writing = False

    def described(self) -> dict[str, Any]:
        """Whether all changes are in the folder but those of `BaseTwin.seldom`, and why none gets there any more."""
        written = not (self._base.dirty.is_set() or self._writing)
        return {"written": written and not self._failure, "not_kept": self._failure}

    @abstractmethod
    def load(self) -> bool:
        """Take up the state that the folder holds; False when it holds none.

        Raises:
            KitError: another version of the kit, or of what it stands on, wrote it, or it is damaged.
        """

    @abstractmethod
    def save(self) -> None:
        """Write the state now, unless it is what was written last."""

    def start(self) -> None:
        """Begin to watch for changes."""
        self._thread.start()

    def close(self) -> None:
        """Write what is not written yet, and stop."""
        self._ended.set()
        self._base.dirty.set()
        self._thread.join()
        self.save()

    def _seen(self) -> None:
        """What changed up to now is about to be written; the lock is held."""
        self._writing = True  # before what `described` reads first
        self._base.dirty.clear()
        self._base.stale.clear()

    def _run(self) -> None:
        took = 0.0
        while True:
            if not self._base.dirty.wait(SELDOM_SECONDS) and not self._base.stale.is_set():
                continue
            if self._ended.wait(max(DEBOUNCE_SECONDS, _RESTS * took)):
                return
            began = time.monotonic()
            try:
                self.save()
                self._writing = False
                took = time.monotonic() - began
                self._failure = ""
            except Exception as e:  # the twin works on; `status` says that its state is not kept
                self._failure = f"{type(e).__name__}: {e}"
                log.exception("the state could not be written")


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file's content as a whole, for its owner alone."""
    temporary = path.with_name(f".{path.name}.tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    temporary.replace(path)
