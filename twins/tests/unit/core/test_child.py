"""A program beside a twin: it ends with the twin, however that ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from llmops_twins.core.child import Child

PARENT = """
import sys, time
from pathlib import Path
from llmops_twins.core.child import Child
child = Child([sys.executable, "-c", "import time; time.sleep(600)"], Path(sys.argv[1]), Path(sys.argv[1]) / "log", {})
print(child.pid, flush=True)
time.sleep(600)
"""


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait(60)
    parent.stdout.close()
    child.wait(60)


def test_it_is_stopped_and_its_last_words_are_known(tmp_path: Path) -> None:
    talker = "import os, time; print(os.getcwd(), dict(os.environ).get('A'), flush=True); time.sleep(600)"
    child = Child([sys.executable, "-c", talker], tmp_path, tmp_path / "log", {"A": "b"})
    while not child.last_words():
        assert child.runs()
    child.stop()
    assert not child.runs()
    assert child.last_words() == f"{tmp_path} b"
