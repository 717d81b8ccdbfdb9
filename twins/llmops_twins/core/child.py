"""A child process of a twin, which ends with it, however the twin ends."""

import ctypes
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_END_SECONDS = 10


class Child:
    """Runs a program in `folder` with its output in the file `log`, and only `environ` as environment."""

    def __init__(self, command: Sequence[str], folder: Path, log: Path, environ: Mapping[str, str]) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        started = threading.Event()
        arguments = (command, folder, log, environ, started)
        # The kernel sends the death signal when the starting thread ends, so a request's thread must not start it.
        threading.Thread(target=self._keep, args=arguments, name=log.stem, daemon=True).start()
        started.wait()
        self._log = log

    @property
    def pid(self) -> int:
        """The process id; 0 if it could not be started."""
        return self._process.pid if self._process else 0

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        if self._process and self.runs():
            self._process.terminate()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def last_words(self) -> str:
        """Returns the last lines of its output, joined."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return " / ".join(lines[-3:])

    def _keep(
        self, command: Sequence[str], folder: Path, log: Path, environ: Mapping[str, str], started: threading.Event
    ) -> None:
        try:
            with log.open("wb") as written:
                self._process = subprocess.Popen(
                    command,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=written,
                    stderr=written,
                    env=environ,
                    preexec_fn=die_with_parent,
                )
        finally:
            started.set()
        self._process.wait()


def die_with_parent() -> None:
    """Makes a child end with the thread that started it. Runs in the child before its program."""
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)
