"""Kill the fine-tuning at random moments, and resume it. Prints JSON; run in the training image.

python resumes.py BASE ROWS RECIPE RUNS
    -> {"whole": sha256 of a run that nothing interrupts, "resumed": [of each that was killed],
        "kills": [in which step of which run], "from": [the checkpoints that runs went on from]}

Every run is a child of this process, which has imported what they need and computed nothing, so that a start costs a
second and not twelve.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import IO

from training.process import prepare_process

prepare_process()

import datasets  # noqa: E402, F401
import peft  # noqa: E402, F401
import trl.trainer.sft_trainer  # noqa: E402, F401

from contract.digest import sha256_bytes, sha256_file  # noqa: E402
from contract.recipe import Recipe  # noqa: E402
from training.finetune import finetune  # noqa: E402

SEED = 20
_LONGEST_WAIT = 0.15  # seconds; a step and its checkpoint take about as long


class Run:
    """A child that fine-tunes in a folder."""

    def __init__(self, base: Path, rows: Path, recipe: Recipe, folder: Path) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(writing, 1)
            code = 1
            try:
                finetune(base, rows, recipe.training, recipe.serving.system_prompt, folder)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writing)
        self.lines: IO[str] = os.fdopen(reading)
        self.resumed = ""

    def kill_after(self, step: int, seconds: float) -> None:
        """SIGKILL, so long after a step's line."""
        for line in self._said():
            if line.startswith(f"step={step} "):
                time.sleep(seconds)
                break
        os.kill(self.pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]) == -signal.SIGKILL
        self.lines.close()

    def finish(self) -> None:
        """Wait for its end."""
        for _ in self._said():
            pass
        assert os.waitpid(self.pid, 0)[1] == 0
        self.lines.close()

    def _said(self):
        for line in self.lines:
            if line.startswith("resume="):
                self.resumed = line.strip().partition("=")[2]
            yield line


def result_of(folder: Path) -> str:
    """The hash of the adapter and its configuration."""
    files = ("adapter_model.safetensors", "adapter_config.json")
    return sha256_bytes("".join(sha256_file(folder / "trained" / name) for name in files).encode())


def main(base: Path, rows: Path, recipe: Recipe, runs: int) -> None:
    """Run all of it."""
    draw = random.Random(SEED)
    found: dict[str, list[str]] = {"resumed": [], "kills": [], "from": []}
    with tempfile.TemporaryDirectory() as work:
        Run(base, rows, recipe, Path(work, "whole")).finish()
        for number in range(runs):
            folder = Path(work, str(number))
            first = draw.randint(1, 12)
            for step in [first, *([draw.randint(first + 1, 14)] if draw.random() < 0.3 else [])]:
                run = Run(base, rows, recipe, folder)
                run.kill_after(step, draw.uniform(0, _LONGEST_WAIT))
                found["kills"].append(f"{number}:{step}")
            last = Run(base, rows, recipe, folder)
            last.finish()
            found["from"].append(last.resumed)
            found["resumed"].append(result_of(folder))
        print(json.dumps({"whole": result_of(Path(work, "whole")), **found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Recipe.load(Path(sys.argv[3])), int(sys.argv[4]))
