"""Helpers for files that several modules use: locks, atomic writes, HTTP over unix sockets."""

import fcntl
import http.client
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from llmops_kit.core.network.unix_sockets import short_path


def silent(_line: str) -> None:
    """Ignores a line of progress: the default `say`."""


@contextmanager
def locked(
    path: Path, say: Callable[[str], None] = silent, waiting: str = "", shared: bool = False, wait: bool = True
) -> Iterator[None]:
    """Hold a lock on a file; the kernel frees it when the process ends, however it ends.

    Args:
        path: the lock's file, created if missing and never removed.
        say: called with `waiting` once, if another process holds the lock.
        waiting: the message; empty: a general one.
        shared: take a shared lock.
        wait: False: raise BlockingIOError instead of waiting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            say(waiting or f"waiting for another process that holds {path}")
            fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def write_atomic(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    """Replace a file's content as a whole: a reader, or a crash, sees the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as f:
        f.write(content.encode() if isinstance(content, str) else content)
        f.flush()
        os.fsync(f.fileno())
    temporary.replace(path)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, with `timeout` seconds for each wait."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connects to the unix socket; the first request calls this."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with short_path(self._path) as path:
            self.sock.connect(path)
