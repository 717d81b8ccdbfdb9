"""Copies containers' output line by line into the cloud's logs, from the files that the supervisor writes."""

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from llmops_twins.core.fleet.cloud import FleetCloud, Identity, Twin

KEPT_LINES = 5000
"""Maximum number of lines kept from each container's log, because a twin's state is written as a whole."""
_MOST_BYTES = 1 << 20
_STATE = "fleet-logs"


@dataclass
class _Tail:
    """One container's file, and the position up to which it was read. `rest` is an incomplete last line."""

    path: Path
    whose: Identity
    file: IO[bytes] | None = None
    rest: bytes = b""


class LogTails:
    """Reads the files of all containers. A restarted twin continues where the last one stopped."""

    def __init__(self, twin: Twin, cloud: FleetCloud) -> None:
        self._twin = twin
        self._cloud = cloud
        self._tails: dict[str, _Tail] = {}
        self._lock = threading.Lock()

    def add(self, whose: Identity, path: Path) -> None:
        """Starts to read the file of an instance, which need not exist yet."""
        with self._lock:
            self._tails[whose.id] = _Tail(path, whose)

    def read(self, instance: str = "") -> None:
        """Reads new lines. Call without the twin's lock.

        Args:
            instance: id of the instance to read; empty: all.
        """
        with self._lock:
            for name in [instance] if instance else list(self._tails):
                if tail := self._tails.get(name):
                    self._read(name, tail)

    def close(self, instance: str) -> None:
        """Reads to the end, and forgets the file."""
        with self._lock:
            if tail := self._tails.pop(instance, None):
                self._read(instance, tail, last=True)
                if tail.file:
                    tail.file.close()
            with self._twin.lock:
                self._twin.state.get(_STATE, {}).pop(instance, None)

    def forget(self) -> None:
        """Drops everything that was read."""
        with self._twin.lock:
            self._twin.state.pop(_STATE, None)

    def end(self) -> None:
        """Stops reading; the next process continues here."""
        with self._lock:
            for tail in self._tails.values():
                if tail.file:
                    tail.file.close()
            self._tails.clear()

    def _read(self, instance: str, tail: _Tail, last: bool = False) -> None:
        while self._opened(instance, tail):
            assert tail.file
            content = tail.file.read(_MOST_BYTES)
            *lines, tail.rest = (tail.rest + content).split(b"\n")
            if last and not content and tail.rest:
                lines, tail.rest = [*lines, tail.rest], b""
            self._put(instance, tail, lines)
            if not content and not self._rotated(tail):
                return

    def _opened(self, instance: str, tail: _Tail) -> bool:
        if tail.file is None:
            try:
                tail.file = tail.path.open("rb")
            except FileNotFoundError:
                return False
            inode, offset = self._twin.state.get(_STATE, {}).get(instance, (0, 0))
            if inode == os.fstat(tail.file.fileno()).st_ino:
                tail.file.seek(offset)
        return True

    def _rotated(self, tail: _Tail) -> bool:
        """Returns whether the file was rotated, and if so closes the old one."""
        assert tail.file
        try:
            if tail.path.stat().st_ino == os.fstat(tail.file.fileno()).st_ino:
                return False
        except FileNotFoundError:
            return False
        tail.file.close()
        tail.file = None
        return True

    def _put(self, instance: str, tail: _Tail, lines: Iterable[bytes]) -> None:
        messages = [text for line in lines if (text := line.decode(errors="replace").rstrip())]
        if not messages:
            return
        assert tail.file
        with self._twin.lock, self._twin.seldom():
            self._cloud.put_lines(tail.whose, messages)
            position = [os.fstat(tail.file.fileno()).st_ino, tail.file.tell() - len(tail.rest)]
            self._twin.state.setdefault(_STATE, {})[instance] = position
