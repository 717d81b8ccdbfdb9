"""Runs commands as steps: a line each with its time. Their output goes into a log, whose path errors name.

On a terminal the running steps show their progress in one line; elsewhere a line is printed every half minute. Of a
command's output, lines that begin with `note: ` are shown; lines that end in a carriage return are progress and not
logged. Standard library only: it runs before anything is installed.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, TextIO

NOTE = "note: "
_TAIL_LINES = 15
_TICK_SECONDS = 0.2
_PLAIN_SECONDS = 30
_END_SECONDS = 30
"""How long an interrupted command has to clean up."""
_TITLE_WIDTH = 32


@dataclass(frozen=True)
class Step:
    """A command, and how it is shown."""

    title: str
    command: Sequence[str | Path]
    environ: Mapping[str, str] | None = None
    detail: Callable[[str], str] = str
    """Turns a line of its output into its progress; empty: it says nothing new."""


class StepFailedError(Exception):
    """Error for a step with a non-zero exit code."""

    def __init__(self, title: str, code: int, tail: Sequence[str], log: Path) -> None:
        super().__init__(
            f"error: the step `{title}` failed with exit code {code}. Its last lines:\n"
            + "".join(f"  {line}\n" for line in tail)
            + f"log: {log}"
        )
        self.code = code


class Steps:
    """Runs steps below a folder, and shows them on `out`."""

    def __init__(self, log: Path, folder: Path, out: TextIO | None = None) -> None:
        self.log, self._folder = log, folder
        self._out = out or sys.stdout
        self._is_terminal = self._out.isatty()
        self._lock = threading.Lock()
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")

    def run(self, *steps: Step) -> list[str]:
        """Runs steps concurrently; returns the last lines of each.

        Raises:
            StepFailedError: one failed; the others were stopped.
            KeyboardInterrupt: after all of them were stopped.
        """
        with self.log.open("ab") as log, _termination_interrupts():
            running = [_Running(step, self._folder, log, self._lock, self.note) for step in steps]
            try:
                self._watch(running)
            except BaseException as e:
                left = [each for each in running if each.is_alive]
                _stop(left)
                self._clear()
                if isinstance(e, KeyboardInterrupt):  # a command may say what keeps running without it
                    for line in (line for each in left for line in each.last_words):
                        self.note(line)
                raise
            self._clear()
        return ["\n".join(each.tail) for each in running]

    def log_line(self, line: str) -> None:
        """Writes a line into the log alone."""
        with self._lock, self.log.open("a") as log:
            log.write(f"{line}\n")

    def note(self, line: str) -> None:
        """Prints a line between those of the steps."""
        with self._lock:
            self._clear()
            self._out.write(f"{line}\n")
            self._out.flush()

    def finished(self, title: str, seconds: float, word: str = "") -> None:
        """Prints a finished step's line."""
        self.note(f"  {title:<{_TITLE_WIDTH}}{seconds:8.1f} s{word and f'  {word}'}")

    def _watch(self, running: "list[_Running]") -> None:
        left, said = list(running), time.monotonic()
        while left:
            for each in [each for each in left if not each.is_alive]:
                left.remove(each)
                self._end(each)
            if not self._is_terminal and time.monotonic() - said >= _PLAIN_SECONDS:
                said = time.monotonic()
                for each in left:
                    self.note(f"  {each.status}")
            elif self._is_terminal:
                self._draw(" | ".join(each.status for each in left))
            if left:
                left[0].wait(_TICK_SECONDS)

    def _end(self, ended: "_Running") -> None:
        code = ended.finish()
        self.finished(ended.step.title, ended.seconds, "failed" if code else "")
        if code:
            raise StepFailedError(ended.step.title, code, ended.tail, self.log)

    def _draw(self, line: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        with self._lock:
            self._out.write(f"\r\x1b[2K  {line}"[: width + 5])
            self._out.flush()

    def _clear(self) -> None:
        if self._is_terminal:
            self._out.write("\r\x1b[2K")


class _Running:
    """A started command, and a thread that reads its output."""

    def __init__(
        self, step: Step, folder: Path, log: IO[bytes], lock: threading.Lock, note: Callable[[str], None]
    ) -> None:
        self.step = step
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.last_words: list[str] = []
        """Lines that it printed after it was asked to stop."""
        self._is_stopped = False
        self._log, self._lock, self._note = log, lock, note
        self._detail = ""
        self._began = self._ended = time.monotonic()
        # Its own process group: Ctrl-C reaches it once, from here.
        self._process = subprocess.Popen(
            [str(word) for word in step.command],
            cwd=folder,
            env=step.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def seconds(self) -> float:
        return (time.monotonic() if self.is_alive else self._ended) - self._began

    @property
    def status(self) -> str:
        """The step's title, time and progress."""
        passed = int(self.seconds)
        return f"{self.step.title} {passed // 60}:{passed % 60:02d} {self._detail}".rstrip()

    def wait(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def finish(self) -> int:
        """Returns the exit code of a command that has ended, once its output is read."""
        self._ended = time.monotonic()
        self._reader.join(_END_SECONDS)  # a program that it left behind may keep the pipe
        return self._process.returncode

    def send(self, number: int) -> None:
        self._is_stopped = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as stream:
            for line, is_progress in _lines(stream):
                detail = self.step.detail(line)
                self._detail = detail or self._detail
                if is_progress:
                    continue
                with self._lock:
                    self._log.write(f"{self.step.title}: {line}\n".encode())
                    self._log.flush()
                if line.startswith(NOTE):
                    self._note(f"  {line}")
                elif line:
                    self.tail.append(line)
                    if self._is_stopped:
                        self.last_words.append(line)


def _lines(stream: IO[bytes]) -> Iterator[tuple[str, bool]]:
    """Yields each line, and whether it ended in a carriage return, as soon as it is printed."""
    rest = b""
    while piece := os.read(stream.fileno(), 1 << 16):
        *whole, rest = re.split(rb"(\r?\n|\r)", rest + piece)
        for line, end in zip(whole[::2], whole[1::2], strict=True):
            yield line.decode(errors="replace"), end == b"\r"
    if rest:
        yield rest.decode(errors="replace"), False


def _stop(running: "Sequence[_Running]") -> None:
    """Interrupts commands, and kills those that don't end in time."""
    for number in (signal.SIGINT, signal.SIGKILL):
        for each in running:
            if each.is_alive:
                each.send(number)
        deadline = time.monotonic() + _END_SECONDS
        with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C ends the wait
            for each in running:
                each.wait(max(0.0, deadline - time.monotonic()))
    for each in running:
        each.finish()


@contextlib.contextmanager
def _termination_interrupts() -> Iterator[None]:
    """Treats SIGTERM as Ctrl-C inside the block."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
