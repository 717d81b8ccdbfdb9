"""Kill the fine-tuning at random moments, and resume it. Prints JSON; run in the training image.

python resumes.py BASE DATA RECIPES RUNS
    -> {"whole": [sha256 of a run of each recipe that nothing interrupts],
        "resumed": [{"recipe": its number, by turns, "sha256": of a run of it that was killed, "killed_in": [steps],
                     "from": the last checkpoint taken up} ...]}

DATA is a folder that `write_rows` filled, RECIPES a JSON list.

Every run is a child of this process, which has imported what they need and computed nothing, so that a start costs a
second and not twelve. What they need, the first of them says.
"""

import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from llmops_kit.training.process import prepare_process

prepare_process()

import bitsandbytes  # noqa: E402, F401
import peft  # noqa: E402, F401
import transformers.trainer  # noqa: E402, F401

from llmops_kit.core.documents.recipe import Recipe  # noqa: E402
from llmops_kit.core.hashes import sha256_file  # noqa: E402
from llmops_kit.training.torch_trainer.finetune import finetune  # noqa: E402
from tests.support.runs.training import ROWS  # noqa: E402

SEED = 20
_MODULES = "modules="
_LAST_KILL = 7  # of 9 steps: one that is killed later may have ended
_LONGEST_WAIT = 0.15  # seconds; a step and its checkpoint take about as long


class Run:
    """A child that fine-tunes in a folder."""

    def __init__(self, base: Path, data: Path, recipe: Recipe, folder: Path) -> None:
        rows = data / ROWS[recipe.training.method]
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
                print(f"{_MODULES}{' '.join(sys.modules)}", flush=True)
                os._exit(code)
        os.close(writing)
        self.lines: IO[str] = os.fdopen(reading)
        self.resumed = ""

    def kill_after(self, step: int, seconds: float) -> bool:
        """SIGKILL, so long after a step's line. False: it had ended by then."""
        for line in self._said():
            if line.startswith(f"step={step} "):
                time.sleep(seconds)
                break
        os.kill(self.pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert code in (-signal.SIGKILL, 0)
        self.lines.close()
        return code != 0

    def finish(self) -> list[str]:
        """Wait for its end; the modules that it imported."""
        last = [line for line in self._said() if line.startswith(_MODULES)]
        assert os.waitpid(self.pid, 0)[1] == 0
        self.lines.close()
        return last[0].removeprefix(_MODULES).split()

    def _said(self):
        for line in self.lines:
            if line.startswith("resume="):
                self.resumed = line.strip().partition("=")[2]
            yield line


def result_of(folder: Path) -> str:
    """The hash of the weights."""
    [weights] = (folder / "trained").glob("*.safetensors")
    return sha256_file(weights)


def interrupted(base: Path, data: Path, recipe: Recipe, folder: Path, number: int) -> dict[str, Any]:
    """A run that is killed once or twice, and then ends."""
    draw = random.Random(f"{SEED}:{number}")
    first = draw.randint(1, _LAST_KILL - 1)
    steps = [first, *([draw.randint(first + 1, _LAST_KILL)] if draw.random() < 0.3 else [])]
    waits = [draw.uniform(0, _LONGEST_WAIT) for _ in steps]
    both = zip(steps, waits, strict=True)
    killed = [step for step, wait in both if Run(base, data, recipe, folder).kill_after(step, wait)]
    last = Run(base, data, recipe, folder)
    last.finish()
    return {"sha256": result_of(folder), "killed_in": killed, "from": last.resumed}


def halves(base: Path, data: Path, recipes: list[Recipe], work: Path, runs: int) -> list[dict[str, Any]]:
    """The interrupted runs, on two cores: the odd ones in a child of this process, which has children of its own."""
    child = os.fork()
    found = [
        {"recipe": n // 2 % len(recipes), **interrupted(base, data, recipes[n // 2 % len(recipes)], work / str(n), n)}
        for n in range(runs)
        if n % 2 == bool(child)
    ]
    if child == 0:
        (work / "even.json").write_text(json.dumps(found))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    return found + json.loads((work / "even.json").read_text())


def main(base: Path, data: Path, recipes: list[Recipe], runs: int) -> None:
    """Run all of it."""
    with tempfile.TemporaryDirectory() as work:
        whole = [Path(work, f"whole-{number}") for number in range(len(recipes))]
        for recipe, folder in zip(recipes, whole, strict=True):
            for name in Run(base, data, recipe, folder).finish():
                with suppress(Exception):  # a module under a name that it can't be imported by
                    importlib.import_module(name)
        resumed = halves(base, data, recipes, Path(work), runs)
        print(json.dumps({"whole": [result_of(folder) for folder in whole], "resumed": resumed}))


if __name__ == "__main__":
    texts = json.loads(Path(sys.argv[3]).read_text())
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Recipe.parse(t, "RECIPES") for t in texts], int(sys.argv[4]))
