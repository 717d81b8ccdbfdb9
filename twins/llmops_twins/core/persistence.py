"""Saves a twin's state soon after each change, high-churn state less often; keeps a snapshot of it."""

import logging
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from llmops_kit.core.errors import KitError
from llmops_twins.core.state_log import STATE_FILE, StateLog
from llmops_twins.core.twin import BaseTwin

DEBOUNCE_SECONDS = 0.2
SNAPSHOT = "snapshot"
SELDOM_SECONDS = 5.0
"""How long high-churn state (`BaseTwin.seldom`) may be unsaved."""
_RESTS = 5  # a save is followed by a pause of this many times its duration: it blocks everything else
log = logging.getLogger("twins")


class Keeper(ABC):
    """Saves the state of a twin soon after each change, and loads it.

    `folders` are the names of those in the twin's folder that belong to the state; their files never change once
    written.
    """

    folders: ClassVar[tuple[str, ...]] = ()

    def __init__(self, twin: BaseTwin, writer: Mapping[str, str], reset: str) -> None:
        """Makes the thread that saves; `start` starts it.

        Args:
            writer: what a state's content depends on (see StateLog).
            reset: the command that drops the state, without the twin's folder.
        """
        self._base = twin
        self._log = StateLog(twin.home, writer, f"{reset} --home {twin.home}")
        self._saving = threading.Lock()  # acquired before the twin's lock
        twin.snapshot, twin.restore = self.snapshot, self.restore
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._failure = ""
        self._writing = False

    def described(self) -> dict[str, Any]:
        """Returns whether all changes are saved (`written`), except those in `BaseTwin.seldom`, and why saving fails
        (`not_kept`).
        """
        written = not (self._base.dirty.is_set() or self._writing)
        return {"written": written and not self._failure, "not_kept": self._failure}

    def load(self) -> bool:
        """Loads the state from the folder; False if there is none.

        Raises:
            KitError: another version of the kit or of its libraries wrote it, or it is damaged.
        """
        parts = self._log.read()
        if parts is None:
            return False
        self._take(parts)
        return True

    def save(self) -> None:
        """Saves now what has changed since the last save."""
        with self._base.lock:
            self._seen()
            copies = self._copied()
        self._log.write(self._encoded(copies))

    @abstractmethod
    def _copied(self) -> dict[str, bytes]:
        """Returns a copy of each part of the state, by name; the lock is held."""

    def _encoded(self, copies: dict[str, bytes]) -> Mapping[str, bytes]:
        """Returns copies in the encoding of the file; the lock is not held."""
        return copies

    @abstractmethod
    def _take(self, parts: Mapping[str, bytes]) -> None:
        """Replaces the state by the parts of the file."""

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Saves pending changes, and stops."""
        self._ended.set()
        self._base.dirty.set()
        self._thread.join()
        self.save()

    def snapshot(self) -> None:
        """Saves the current state as the snapshot."""
        with self._saving, self._base.lock:
            self.save()
            shutil.rmtree(self._base.home / SNAPSHOT, ignore_errors=True)
            _link(self._base.home, self._base.home / SNAPSHOT, (STATE_FILE, *self.folders))

    def restore(self) -> None:
        """Replaces state and folders by those of the snapshot.

        Raises:
            KitError: there is no snapshot.
        """
        kept = self._base.home / SNAPSHOT
        if not kept.exists():
            raise KitError("this twin has no snapshot", where=str(self._base.home), fix="take one first")
        with self._saving, self._base.lock:
            _link(kept, self._base.home, (STATE_FILE, *self.folders))
            self._base.take_over(self.load)

    def _seen(self) -> None:
        """Marks all changes up to now as being written; the lock is held."""
        self._writing = True  # set before `dirty` is cleared, so that `described` never misses a change
        self._base.dirty.clear()
        self._base.stale.clear()

    def _run(self) -> None:
        took = 0.0
        while True:
            if not self._base.dirty.wait(SELDOM_SECONDS) and not self._base.stale.is_set():
                continue
            if self._ended.wait(rest(took)):
                return
            began = time.thread_time()  # CPU time: waiting on a busy machine must not lengthen the pause
            try:
                with self._saving:
                    self.save()
                self._writing = False
                took = time.thread_time() - began
                self._failure = ""
            except Exception as e:  # the twin keeps running; `status` reports that its state is not saved
                self._failure = f"{type(e).__name__}: {e}"
                log.exception("the state could not be written")


def rest(took: float) -> float:
    """Returns the seconds to wait before a save, if the last one took `took` seconds of processor time. A killed twin
    loses the changes of that time.
    """
    return min(max(DEBOUNCE_SECONDS, _RESTS * took), SELDOM_SECONDS)


def _link(source: Path, target: Path, names: tuple[str, ...]) -> None:
    """Hard-links files into another folder. That is safe because files with several links are never written to."""
    target.mkdir(mode=0o700, exist_ok=True)
    for name in names:
        if (source / name).is_dir():
            _link(source / name, target / name, tuple(each.name for each in (source / name).iterdir()))
        elif (source / name).exists() and not ((target / name).exists() and (target / name).samefile(source / name)):
            linked = target / f".{name}.link"
            linked.unlink(missing_ok=True)
            linked.hardlink_to(source / name)
            linked.replace(target / name)
