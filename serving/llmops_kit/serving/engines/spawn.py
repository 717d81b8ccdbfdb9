"""Starts an engine's process. Imports little, because it is the first step of startup."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping

_HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""Setting of GLIBC_TUNABLES, since glibc 2.35: allocates memory in pages of 2 MB, where the kernel offers transparent
huge pages on `madvise`. A step reads all weights, and with pages of 4 kB it probably waits for address translation.
"""


class WorkerProcess:
    """An engine's process and the socket to it. The process ends when the socket closes, even if this one is killed."""

    def __init__(self, process: subprocess.Popen[bytes], sock: socket.socket, engine: str) -> None:
        self.process = process
        self.sock = sock
        self.engine = engine
        """Engine whose library it imports first."""

    def end(self) -> None:
        """Kills the process and waits for its end; can be repeated."""
        with contextlib.suppress(OSError):
            self.sock.close()
        self.process.kill()
        self.process.wait()


def spawn(engine: str) -> WorkerProcess:
    """Starts a process that imports `engine`'s library and then waits for the load order."""
    here, there = socket.socketpair()
    with there:
        process = subprocess.Popen(
            [sys.executable, "-m", "llmops_kit.serving.engines.worker", str(there.fileno()), engine],
            pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL,
            env=engine_environ(os.environ),
        )
    return WorkerProcess(process, here, engine)


def engine_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of an engine's process: its parent's, offline, with huge pages.

    Args:
        environ: the parent's; its own tunables of glibc take precedence.
    """
    tunables = ":".join(filter(None, (_HUGE_PAGES, environ.get("GLIBC_TUNABLES"))))
    return {
        "OPENBLAS_NUM_THREADS": "1",  # numpy's threads would spin after they start, and compute nothing
        **environ,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "GLIBC_TUNABLES": tunables,
    }
