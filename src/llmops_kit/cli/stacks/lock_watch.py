"""Records the lock that an engine of the kit takes, while the engine runs."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import psutil

from llmops_kit.cli.stacks.lock_records import LockRecords, Record
from llmops_kit.cli.stacks.locks import Lock
from llmops_kit.contract.errors import KitError

_LOOK_SECONDS = 0.05
_AGAIN_SECONDS = 1.0  # after a backend that did not answer


class LockWatch:
    """Waits until an engine holds its lock, which it then records.

    The engine opens its log of events after it has taken the lock and has seen that nobody else has one
    (`diyBackend.Update`, `display.ShowEvents`). So from then on the lock with its number and host name is its own.
    """

    def __init__(self, records: LockRecords, find: Callable[[], list[Lock]]) -> None:
        self._records, self._find = records, find
        self._events = records.temporary()
        self._engine: subprocess.Popen[Any] | None = None
        self._record: Record | None = None
        self._lock = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._wait, name="lock", daemon=True)

    @property
    def arguments(self) -> list[str]:
        """What the engine is started with."""
        return ["--event-log", str(self._events)]

    @property
    def environ(self) -> dict[str, str]:
        """What the engine has in its environment: without it, it doesn't know the option."""
        return {"PULUMI_DEBUG_COMMANDS": "true"}

    def start(self, engine: "subprocess.Popen[Any]") -> None:
        """Watch a process that was just started."""
        with contextlib.suppress(psutil.Error):  # it ended already
            self._engine, self._record = engine, Record.of(psutil.Process(engine.pid))
            self._thread.start()

    def __enter__(self) -> "LockWatch":
        return self

    def __exit__(self, *_: object) -> None:
        """The engine has ended: in order, with its lock given back; killed, with its lock left."""
        self._over.set()
        if self._thread.ident:
            self._thread.join()
        if self._engine and self._engine.returncode == 0 and self._lock:
            self._records.remove(self._lock)
        elif self._engine and self._engine.returncode and not self._lock and self._holds():
            with contextlib.suppress(KitError):
                self._note()
        self._events.unlink(missing_ok=True)

    def _wait(self) -> None:
        while not self._holds():
            if self._over.wait(_LOOK_SECONDS):
                return
        while not self._lock:
            with contextlib.suppress(KitError):
                self._note()
            if self._over.wait(_AGAIN_SECONDS):
                return

    def _holds(self) -> bool:
        return self._events.exists()

    def _note(self) -> None:
        assert self._record
        for lock in self._find():
            if lock.pid == self._record.pid and lock.host == socket.gethostname():
                self._records.write(lock.id, self._record)
                self._lock = lock.id
                self._events.unlink(missing_ok=True)  # the engine goes on writing into a file without a name
