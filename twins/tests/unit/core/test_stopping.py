"""A process that is told to stop again and again hears it, whatever it does at that moment."""

import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import sys
from llmops_twins.core.stopping import StopSignal
over = StopSignal()
print("ready", flush=True)
while not over.wait(0.5):
    pass
print("over", flush=True)
sys.stdin.read()
assert over.wait(0)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_many_signals_at_once(number: int) -> None:
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            assert process.stdout.readline() == "ready\n"
            began = time.monotonic()
            while time.monotonic() - began < 0.3:
                process.send_signal(number)
            assert process.stdout.readline() == "over\n"
            process.stdin.close()
            assert process.wait(60) == 0
        finally:
            process.kill()
