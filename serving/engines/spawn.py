"""Starts an engine's process. Imports little, because it is the first step of startup."""

import contextlib
import os
import socket
import subprocess
import sys


class WorkerProcess:
    """An engine's process and the socket to it. The process ends when the socket closes, however this one ends."""

    def __init__(self, process: subprocess.Popen[bytes], sock: socket.socket, engine: str) -> None:
        self.process = process
        self.sock = sock
        self.engine = engine
        """Whose library it imports first."""

    def end(self) -> None:
        """Kills the process and waits for its end; harmless when repeated."""
        with contextlib.suppress(OSError):
            self.sock.close()
        self.process.kill()
        self.process.wait()


def spawn(engine: str) -> WorkerProcess:
    """Starts a process that imports `engine`'s library and then waits for the load order."""
    here, there = socket.socketpair()
    with there:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.engines.worker", str(there.fileno()), engine],
            pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
        )
    return WorkerProcess(process, here, engine)
