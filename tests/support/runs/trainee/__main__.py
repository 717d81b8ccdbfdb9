"""An image for tests of jobs: it executes the Python code that it is given, as variable CODE or,
as JSON, hyperparameter `code`.

The code finds `root` (what stands for `/`), `ml` (opt/ml there), `config`, `catch` and `wait_for_the_end`.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

root = Path(os.environ["LLMOPS_ROOT"])
ml = root / "opt/ml"
terminated: list[int] = []


def config(name: str) -> Any:
    """A document of the platform."""
    return json.loads((ml / f"input/config/{name}.json").read_text())


def wait_for_the_end(seconds: float = 600.0) -> None:
    """Until SIGTERM comes, if the code caught it (`catch`)."""
    deadline = time.monotonic() + seconds
    while not terminated and time.monotonic() < deadline:
        time.sleep(0.01)


def catch() -> None:
    """Let SIGTERM end `wait_for_the_end` instead of the process."""
    signal.signal(signal.SIGTERM, lambda *_: terminated.append(1))


if __name__ == "__main__":
    assert sys.argv[1:] in (["train"], []), sys.argv
    exec(os.environ.get("CODE") or json.loads(config("hyperparameters")["code"]))
