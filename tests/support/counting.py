"""How many bytes this process gets from others."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock


@dataclass
class Counter:
    """Bytes of every answer: heads, TLS aside."""

    bytes: int = 0

    def taken(self) -> int:
        """What came since the last call."""
        taken, self.bytes = self.bytes, 0
        return taken


@contextmanager
def received() -> Iterator[Counter]:
    """Count what Python's HTTP clients read from sockets meanwhile."""
    counter, readinto = Counter(), socket.SocketIO.readinto

    def counted(self: socket.SocketIO, buffer: Any) -> int | None:
        size = readinto(self, buffer)
        counter.bytes += size or 0
        return size

    with mock.patch.object(socket.SocketIO, "readinto", counted):
        yield counter
