"""Steps: a line each on the screen, their output in a log, and nothing that goes on after Ctrl-C."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.checkout import CHECKOUT
from tools.steps import Step, StepFailedError, Steps

WAIT = "import pathlib, time\nwhile not pathlib.Path('seen').exists(): time.sleep(0.01)\n"


class Terminal(io.StringIO):
    """Keeps all that was drawn, and makes the file `seen` once the awaited text was."""

    def __init__(self, awaited: str, seen: Path) -> None:
        super().__init__()
        self._awaited, self._seen = awaited, seen

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._awaited in text:
            self._seen.touch()
        return super().write(text)


def python(title: str, program: str) -> Step:
    return Step(title, [sys.executable, "-u", "-c", program])


def test_a_step_is_a_line_with_its_time_and_its_output_is_in_the_log(tmp_path: Path) -> None:
    out, log = io.StringIO(), tmp_path / "logs" / "log"
    said = Steps(log, tmp_path, out).run(python("first", "import os; print(os.getcwd()); print('two')"))
    assert said == [f"{tmp_path}\ntwo"]
    assert re.fullmatch(r"  first +\d+\.\d s\n", out.getvalue())
    assert log.read_text() == f"first: {tmp_path}\nfirst: two\n"


def test_a_terminal_shows_the_progress_of_all_that_runs(tmp_path: Path) -> None:
    out = Terminal("3 of 4", tmp_path / "seen")
    program = f"print('note: read this')\nprint('3 of 4', end='\\r')\n{WAIT}print('done')"
    Steps(tmp_path / "log", tmp_path, out).run(python("first", program), python("second", WAIT))
    drawn = out.getvalue()
    assert re.search(r"\r\x1b\[2K  first \d:\d\d 3 of 4 \| second \d:\d\d", drawn)
    left = [line.rpartition("\x1b[2K")[2] for line in drawn.split("\n")]
    assert left[0] == "  note: read this"
    assert sorted(line.split()[0] for line in left[1:3]) == ["first", "second"]
    assert left[3:] == [""]
    assert (tmp_path / "log").read_text() == "first: note: read this\nfirst: done\n"


def test_a_failure_names_the_log_and_its_last_lines_and_stops_the_others(tmp_path: Path) -> None:
    failing = python("first", "print('\\n'.join(map(str, range(100)))); raise SystemExit(3)")
    waiting = python("second", "import time; time.sleep(600)")
    with pytest.raises(StepFailedError) as caught:
        Steps(tmp_path / "log", tmp_path, io.StringIO()).run(failing, waiting)
    assert caught.value.code == 3
    assert f"log: {tmp_path / 'log'}" in str(caught.value)
    assert "  98\n  99\n" in str(caught.value)
    assert "  1\n" not in str(caught.value)
    assert "second" not in str(caught.value)
    assert not psutil.Process().children()


_INTERRUPTED = """\
import sys
from pathlib import Path
from tools.steps import Step, Steps
program = '''
import subprocess, sys, time
child = subprocess.Popen(["sleep", "600"])
print(f"note: {child.pid}", flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    sys.exit("it goes on with: llmops runs follow")
'''
try:
    Steps(Path(sys.argv[1]), Path()).run(Step("first", [sys.executable, "-c", program]))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_step_with_its_children_and_shows_its_last_words(tmp_path: Path, number: int) -> None:
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-u", "-c", _INTERRUPTED, str(tmp_path / "log")]
    process = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    child = int(process.stdout.readline().rpartition(" ")[2])
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "it goes on with: llmops runs follow" in output
    deadline = time.monotonic() + 60
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the command's child still runs"
        time.sleep(0.02)
