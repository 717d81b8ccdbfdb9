"""Messages between the server and its engine's process: JSON lines over a socket pair.

To the engine: {"load": {...}} with file descriptors (SCM_RIGHTS, unix(7)), then {"add": [number, {...}]} and
{"cancel": number}. From it: {"loaded": {...}} or {"failed": text}, then {"lost": [numbers], "reason": text} and, for
the steps of 20 ms, {"step": [[number, ids, finish, chances], ...], "running": n} with the new tokens of all answers;
{"grammar_bytes": n} when that number has changed. To
an embedding model: {"embed": [number, [ids, ...]]}; from it, for each batch of the texts, {"embedded": [number,
[[index, base64], ...]]}.
"""

import json
import socket
from typing import Any

_CHUNK = 1 << 16
MOST_HANDLES = 253
"""File descriptors that one message may carry (SCM_MAX_FD in Linux)."""


def encode(message: dict[str, Any]) -> bytes:
    """Returns a message as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Lines:
    """Splits received bytes into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Any]:
        """Returns the messages that `data` completes."""
        *lines, rest = data.split(b"\n")
        if not lines:
            self._rest += rest
            return []
        lines[0] = self._rest + lines[0]
        self._rest = rest
        return [json.loads(line) for line in lines]


class Channel:
    """The engine's end of the socket pair: blocking, one thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lines = Lines()

    def send(self, message: dict[str, Any]) -> None:
        """Writes a message; waits while the socket's buffer is full."""
        self._sock.sendall(encode(message))

    def receive_first(self) -> tuple[list[Any], list[int]]:
        """Returns the first messages, and the file descriptors that came with them.

        Raises:
            EOFError: the server is gone.
        """
        messages: list[Any] = []
        handles: list[int] = []
        while not messages:
            data, received, _, _ = socket.recv_fds(self._sock, _CHUNK, MOST_HANDLES)
            if not data:
                raise EOFError
            messages += self._lines.feed(data)
            handles += received
        return messages, handles

    def receive(self, *, wait: bool) -> list[Any]:
        """Returns the messages that have arrived; with `wait`, sleeps until there is one.

        Raises:
            EOFError: the server is gone.
        """
        messages: list[Any] = []
        while True:
            try:
                data = self._sock.recv(_CHUNK, 0 if wait and not messages else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return messages
            if not data:
                raise EOFError
            messages += self._lines.feed(data)
