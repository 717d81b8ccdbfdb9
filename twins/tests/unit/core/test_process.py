"""What a twin's process tells of itself, with a real stand-in plugin."""

import json
import time
from pathlib import Path

import pytest

from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core import process as module
from llmops_twins.core.process import INFO_FILE, Process
from llmops_twins.core.stopping import StopSignal


class Rounds(StopSignal):
    """A stop that comes when the file names the stand-in's port, or after fifty looks."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._left = 50

    def wait(self, seconds: float | None = None) -> bool:
        time.sleep(0.001)
        self._left -= 1
        return not self._left or bool(json.loads(self._file.read_text())["provider_port"])


def test_a_stand_in_that_is_ready_while_the_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that has much to write."""
    replace = module.write_atomic

    def slow(path: Path, content: str) -> None:
        deadline = time.monotonic() + 60
        while not (tmp_path / "provider.port").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        replace(path, content)

    monkeypatch.setattr(module, "write_atomic", slow)
    process = Process(AccountTwin(tmp_path), "http://127.0.0.1:1", "aws", "llmops_twins.plugins.aws", dict)
    monkeypatch.setattr(process, "_plugin", None)  # whatever is installed here
    process.run(Rounds(tmp_path / INFO_FILE), stand_in=True)
    told = json.loads((tmp_path / INFO_FILE).read_text())["provider_port"]
    assert told == int((tmp_path / "provider.port").read_text())
