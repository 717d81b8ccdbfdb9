"""A language host that has Pulumi's SDKs imported before it is asked for: forked for each program, in milliseconds.

Importing a cloud's SDK and its clients takes a second or more of every preview and update. A command that runs many
programs, such as a rehearsal, keeps this server running (`llmops_kit.cli.pulumi_engine.warm`) and puts its socket into
LLMOPS_WARM_HOST. The launcher `pulumi-language-python` looks there, hands over its environment, folder, arguments and
standard streams, and stays until the forked host ends, passing on SIGINT and SIGTERM. The server learns what to
import from the programs themselves: each host reports the installed modules that it has loaded. A program's own modules
are never kept, nor does a host of one Python serve another one, or one whose packages have changed since.

The launcher's part uses the standard library only and starts with -I -S: it must be quick.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import types
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

VARIABLE = "LLMOPS_WARM_HOST"
SERVE = "--serve"
_LOOK_SECONDS = 0.5
_ANSWER_SECONDS = 20
_HARMLESS = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
"""Python's settings that a fork can still apply, or that have no effect here."""
_STANDARD = str(Path(os.__file__).parent)


def main() -> None:
    """`warm_host.py ENGINE_ARGUMENTS...` is the launcher; `warm_host.py --serve SOCKET` is the server."""
    if sys.argv[1:2] == [SERVE]:
        _WarmServer(Path(sys.argv[2])).serve()
        return
    engine, arguments = os.getppid(), sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an engine may end it at once, and a traceback would be noise
    connection = _hand_over(os.environ.pop(VARIABLE, ""), arguments)
    if connection is None:
        os.execv(sys.executable, [sys.executable, str(Path(__file__).with_name("language_host.py")), *arguments])
    _stay(connection, engine)


def _hand_over(path: str, arguments: list[str]) -> socket.socket | None:
    """Returns the connection to a host that took over, and has sent its process id; None if no host fits."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_ANSWER_SECONDS)
    hello = {
        "python": fingerprint(os.environ),
        "environ": dict(os.environ),
        "folder": str(Path.cwd()),
        "arguments": arguments,
    }
    text = json.dumps(hello).encode()
    try:
        connection.connect(path)
        socket.send_fds(connection, [len(text).to_bytes(8, "big")], [0, 1, 2])
        connection.sendall(text)
        answer = connection.recv(8)
    except OSError:
        return None
    if len(answer) < 8:
        return None
    process = int.from_bytes(answer, "big")

    def pass_on(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    return connection


def _stay(connection: socket.socket, engine: int) -> None:
    """Waits until the host or the engine ends. The host sees the connection close when this process ends."""
    while os.getppid() == engine and not select.select([connection], [], [], _LOOK_SECONDS)[0]:
        pass


def fingerprint(environ: Mapping[str, str]) -> list[Any]:
    """Returns what two processes must share to be interchangeable: the Python, its settings and its packages."""
    settings = {key: value for key, value in environ.items() if key.startswith("PYTHON") and key not in _HARMLESS}
    return [str(_packages()), _installed(), sorted(settings.items())]


def _installed() -> list[int]:
    """Returns the number of installed distributions and the newest one's time of installation, in nanoseconds.

    Not the time of the folder: it changes too when Python puts its first compiled module there.
    """
    times = [0]
    with contextlib.suppress(OSError), os.scandir(_packages()) as entries:
        times += [entry.stat().st_mtime_ns for entry in entries if entry.name.endswith(".dist-info")]
    return [len(times) - 1, max(times)]


def _packages() -> Path:
    """Returns the folder of installed packages: with -S, `sysconfig` doesn't know of virtual environments.

    Resolved, since a link to an environment is that environment; not the Python, which is a link to one of many.
    """
    environment = Path(sys.executable).parent.resolve().parent
    return environment / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"


class _WarmServer:
    """Forks a host for each connection, and imports what they report. Ends when its standard input does."""

    def __init__(self, path: Path) -> None:
        import dynamic_provider
        import language_host

        sys.path.pop(0)  # the engine's folder, which programs must not import from
        self._host, self._read = language_host, dynamic_provider.read
        self._own = json.loads(json.dumps(fingerprint(os.environ)))
        self._listener = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._path = path
        self._reports: set[int] = set()
        self._wanted: list[str] = []

    def serve(self) -> None:
        """Serves until standard input closes, because the process that started this has ended."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the hosts' launchers
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the hosts are never waited for
        gc.freeze()
        print("ready", flush=True)
        while True:
            files = [sys.stdin.fileno(), self._listener.fileno(), *self._reports]
            ready, _, _ = select.select(files, [], [], 0 if self._wanted else None)
            if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 1):
                break
            for report in self._reports & set(ready):
                self._learn(report)
            if self._listener.fileno() in ready:
                self._accept()
            elif self._wanted:
                _load(self._wanted.pop(0))
                gc.freeze()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(_ANSWER_SECONDS)
        files: list[int] = []
        try:
            size, files, _, _ = socket.recv_fds(connection, 8, 3)
            hello = json.loads(self._read(connection, int.from_bytes(size, "big")))
            if hello["python"] != self._own or len(files) != 3 or _threads() > 1:
                return
            receiving, sending = os.pipe()
            if os.fork() == 0:
                os.close(receiving)
                try:
                    self._become(connection, files, sending, hello)
                except ConnectionError:  # the launcher stopped waiting and became the host itself
                    os._exit(0)
                except BaseException as e:  # a fork must never return into the server
                    sys.excepthook(type(e), e, e.__traceback__)
                    os._exit(1)
            os.close(sending)
            self._reports.add(receiving)
        except (OSError, ValueError, KeyError):
            pass  # the launcher is gone, or not this kit's: it runs without a warm host
        finally:
            connection.close()
            for file in files:
                os.close(file)

    def _become(self, connection: socket.socket, files: list[int], report: int, hello: dict[str, Any]) -> None:
        """Runs in the fork as the language host that the launcher would have become."""
        os.setpgid(0, 0)
        self._listener.close()
        for other in self._reports:
            os.close(other)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        for number in (signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(hello["environ"])
        os.chdir(hello["folder"])
        sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
        sys.argv = [self._host.__file__, *hello["arguments"]]
        known = frozenset(name for name in sys.modules if _is_loaded(name))
        connection.settimeout(None)
        connection.sendall(os.getpid().to_bytes(8, "big"))

        def after_program() -> None:
            names = [name for name in sys.modules if name not in known and _is_kept(name)]
            with contextlib.suppress(OSError):
                os.write(report, json.dumps(names).encode() + b"\n")

        self._host.run(connection, after_program)

    def _learn(self, report: int) -> None:
        with os.fdopen(report) as file:
            self._reports.discard(report)
            with contextlib.suppress(ValueError):
                self._wanted += json.loads(file.readline() or "[]")


def _is_kept(name: str) -> bool:
    """Returns whether a module was executed, and is of Python or an installed package."""
    file = getattr(sys.modules[name], "__file__", None) if _is_loaded(name) else None
    return bool(file) and str(Path(str(file)).resolve()).startswith((_STANDARD, str(_packages())))


def _is_loaded(name: str) -> bool:
    """Returns whether a module was executed: the clouds' SDKs put modules into sys.modules that run on first access."""
    return type(sys.modules.get(name)) is types.ModuleType


def _load(name: str) -> None:
    if _is_loaded(name):
        return
    with contextlib.suppress(Exception):  # the program will get the error itself
        getattr(importlib.import_module(name), "", None)  # asking for what it does not have yet executes it


def _threads() -> int:
    """Returns the number of threads: a fork takes only the calling one, and loses what modules' threads hold."""
    tasks = Path("/proc/self/task")  # Linux; elsewhere Python's own threads are all that can be counted
    return len(list(tasks.iterdir())) if tasks.is_dir() else threading.active_count()


if __name__ == "__main__":
    main()
