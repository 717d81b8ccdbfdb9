"""Both ends of starting Pulumi's dynamic provider without waiting for a Python to import the SDK.

The engine starts `pulumi-resource-pulumi-python`, which runs this file. It looks for the process that the language host
of the same engine has forked ahead, and hands it its environment, folder, arguments and open files: it then is what
`python -u -m pulumi.dynamic` would have become. Without one (a `destroy` runs no program) it becomes that itself. In
both, `provider_guard.py` sees to it that no code of the state is executed.

Standard library only, started with -I -S: it must be quick.
"""

import io
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

_HELLO_LIMIT = 64 << 20
_LOOK_SECONDS = 0.5
_ALONE = "--alone"


def main() -> None:
    """`dynamic_provider.py ENGINE_ADDRESS`, as the engine calls it."""
    engine = os.getppid()
    if sys.argv[1:2] == [_ALONE]:
        _be_alone(engine)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an engine may end it at once, and a traceback would be noise
    engine_address = sys.argv[-1]
    connection = _connect(engine_address)
    if connection is None:
        os.execv(sys.executable, [sys.executable, "-u", __file__, _ALONE, *sys.argv[1:]])  # without -S: needs the SDK
    hello = json.dumps({"environ": dict(os.environ), "folder": str(Path.cwd()), "arguments": sys.argv[1:]}).encode()
    socket.send_fds(connection, [len(hello).to_bytes(8, "big")], [1, 2])
    connection.sendall(hello)
    # When this process ends, the provider follows: so it does after a kill -9 of the engine too.
    while os.getppid() == engine and not is_over(connection, _LOOK_SECONDS):
        pass


def listen(engine_address: str) -> socket.socket | None:
    """Listens on the socket that the provider's launcher of the same engine looks for; None if that is not possible."""
    path = _path(engine_address)
    if path is None:
        return None
    try:
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
    except OSError:
        return None
    return listener


def become(listener: socket.socket, alive: socket.socket) -> None:
    """Waits in the forked process for the launcher, then runs as the provider. Ends with it, or when `alive` closes."""
    import runpy

    import caller_guard
    import provider_guard
    import pulumi.dynamic  # noqa: F401  (imported ahead, which is the point)

    # The engine ends the language host's whole group, and may do so before the provider's work is over.
    os.setpgid(0, 0)
    path = Path(listener.getsockname())
    ready, _, _ = select.select([listener, alive], [], [])
    if listener not in ready:
        path.unlink(missing_ok=True)
        os._exit(0)
    connection, _ = listener.accept()
    path.unlink(missing_ok=True)
    listener.close()
    alive.close()
    try:
        size, files, _, _ = socket.recv_fds(connection, 8, 2)
        hello = json.loads(read(connection, int.from_bytes(size, "big")))
    except (ConnectionError, ValueError):  # the launcher was ended meanwhile
        os._exit(0)
    for number, file in zip((1, 2), files, strict=True):
        os.dup2(file, number)
        os.close(file)
    # Unbuffered as with -u: the provider writes its port into stdout's binary layer and doesn't flush.
    sys.stdout, sys.stderr = (_unbuffered(number) for number in (1, 2))
    os.environ.clear()
    os.environ.update(hello["environ"])
    os.chdir(hello["folder"])
    sys.argv = ["pulumi.dynamic", *hello["arguments"]]
    sys.path.insert(0, hello["folder"])
    end_with(connection)
    provider_guard.install(caller_guard.guard)
    runpy.run_module("pulumi.dynamic", run_name="__main__", alter_sys=True)
    os._exit(0)


def _unbuffered(number: int) -> io.TextIOWrapper:
    binary: Any = io.FileIO(number, "wb", closefd=False)  # as Python does for -u; the stub wants a buffer
    return io.TextIOWrapper(binary, "utf-8", write_through=True)


def _be_alone(engine: int) -> None:
    """Runs as the provider, without a process forked ahead, until the engine ends."""
    import runpy
    import threading

    import caller_guard
    import provider_guard

    threading.Thread(target=end_with_parent, args=(engine,), daemon=True).start()
    sys.argv = ["pulumi.dynamic", *sys.argv[2:]]
    sys.path[0] = str(Path.cwd())  # as `python -m` has it
    provider_guard.install(caller_guard.guard)
    runpy.run_module("pulumi.dynamic", run_name="__main__", alter_sys=True)
    os._exit(0)


def end_with_parent(parent: int) -> None:
    """End this process when its parent, the engine, was killed without ending its plugins."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(0)


def end_with(connection: socket.socket) -> None:
    """End this process when the other end of the connection is closed: its process is gone."""
    import threading

    def wait() -> None:
        is_over(connection)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def is_over(connection: socket.socket, seconds: float | None = None) -> bool:
    """Returns whether the other end closes within a time; None: waits until it does. No more data is expected on it."""
    return bool(select.select([connection], [], [], seconds)[0])


def _connect(engine_address: str) -> socket.socket | None:
    path = _path(engine_address)
    if path is None or not path.exists():
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except OSError:
        return None
    # Only one launcher can connect: the second dynamic provider of an engine starts without a fork.
    path.unlink(missing_ok=True)
    return connection


def _path(engine_address: str) -> Path | None:
    """Returns the path of this engine's socket, in a folder that only this user can enter: messages contain secrets."""
    folder = Path(os.environ.get("TMPDIR") or "/tmp", f"llmops-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    private = status.st_uid == os.getuid() and status.st_mode & 0o777 == 0o700 and not folder.is_symlink()
    return folder / f"engine-{engine_address.rpartition(':')[2]}" if private else None


def read(connection: socket.socket, size: int) -> bytes:
    """Reads a launcher's message.

    Raises:
        ValueError: it is longer than any message of the kit's launchers.
    """
    if size > _HELLO_LIMIT:
        raise ValueError("not a launcher of this kit")
    data = b""
    while len(data) < size and (part := connection.recv(size - len(data))):
        data += part
    return data


if __name__ == "__main__":
    main()
