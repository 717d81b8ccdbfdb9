"""Unix sockets that only this user can use, at paths of any length."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmops_kit.core.errors import KitError

_BACKLOG = 1024


def listen(path: Path) -> socket.socket:
    """Returns a listening unix socket that this process's user alone may connect to.

    Raises:
        KitError: other users may enter its folder, or the socket can't be made.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if stat.S_IMODE(path.parent.stat().st_mode) & 0o077:
            raise KitError("other users may enter this folder", where=str(path.parent), fix="chmod 700")
        path.unlink(missing_ok=True)  # of a worker that was killed
        os.fchmod(listener.fileno(), 0o600)  # before it has a name
        with short_path(path) as short:
            listener.bind(short)
        listener.listen(_BACKLOG)
    except OSError as e:
        listener.close()
        raise KitError(
            f"no socket can be made here: {e.strerror}", where=str(path), fix="choose a folder on a local disk"
        ) from None
    except KitError:
        listener.close()
        raise
    return listener


def connect(path: Path) -> socket.socket:
    """Returns a connection, which doesn't block.

    Raises:
        BlockingIOError: too many connections wait there already.
        OSError: no process listens.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with short_path(path) as short:
            sock.connect(short)
    except BaseException:
        sock.close()
        raise
    return sock


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yields a path of a unix socket that fits its limit of 107 bytes, however deep the folder is; valid inside the
    block.
    """
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
