"""Train the same rows in several ways, on one or several ranks. Prints JSON; run in the training image.

python ranked.py BASE DATA RECIPE WAYS
    WAYS: [{"name": its own, "size": ranks, "options": of the recipe's training, "stop_after": steps, "kills": how many
            times all ranks are killed, "from": the name of a way that stopped, to go on with, "tokens": of a
            micro-batch at most, "asks": true: answer the held-out rows with the base model instead,
            "lacks": the pass in whose first trial a GPU would run out of memory, "draw": a seed: products are rounded
            to bf16 otherwise}]
    -> {name: {"losses": [of each step], "norm": of the first gradients, "validation": loss, "sha256": of the result,
               "begun": digest of the weights before the first step, "shards": [bytes of each],
               "resumed": [the checkpoints that were taken up]},
        or {"answers": [...], "batches": of rank 0}, or {"error": of rank 0}}

DATA is a folder that `write_rows` filled. Every rank is a child of this process, which has imported what they need and
computed nothing, so that a start costs little. Torch's own pickling between ranks is refused.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import IO, Any

from llmops_kit.training.process import prepare_process

prepare_process()

import peft  # noqa: E402, F401
import transformers.trainer  # noqa: E402, F401
from torch.distributed import TCPStore, distributed_c10d  # noqa: E402  # pyright: ignore[reportPrivateImportUsage]

import llmops_kit.training.torch_trainer.trainer  # noqa: E402, F401
from llmops_kit.core.documents.recipe import Recipe  # noqa: E402
from llmops_kit.core.documents.recipe_training import TrainingRecipe  # noqa: E402
from llmops_kit.core.errors import RunError  # noqa: E402
from llmops_kit.core.hashes import sha256_file  # noqa: E402
from llmops_kit.training import checkpoints  # noqa: E402
from llmops_kit.training.data.rows import read_rows  # noqa: E402
from llmops_kit.training.evaluation import evaluate  # noqa: E402
from llmops_kit.training.evaluation.evaluate import run_suite  # noqa: E402
from llmops_kit.training.models.weights import load_model, load_tokenizer  # noqa: E402
from llmops_kit.training.process import keep_quiet  # noqa: E402
from llmops_kit.training.ranks import Alone, StoppedError, Team  # noqa: E402
from llmops_kit.training.torch_trainer import adapters, micro_batches  # noqa: E402
from llmops_kit.training.torch_trainer.finetune import finetune, is_trained  # noqa: E402
from tests.support.runs.gpu_branch import take_gpu_branch  # noqa: E402
from tests.support.runs.rounding import round_products_otherwise  # noqa: E402
from tests.support.runs.training import ROWS  # noqa: E402

_SOUND, _FAILED = 0, 1


def refuse(*_: object) -> None:
    """In the place of torch's own pickling."""
    raise AssertionError("an object was pickled for the wire, or unpickled from it")


class Way:
    """One of the ways, in its folder."""

    def __init__(self, base: Path, data: Path, recipe: Recipe, work: Path, way: dict[str, Any]) -> None:
        options = {"method": "sft", **way.get("options", {})}
        self.options = TrainingRecipe.model_validate({**recipe.training.model_dump(exclude_unset=True), **options})
        self.inputs = (base, data / ROWS[self.options.method], self.options, recipe.serving.system_prompt)
        self.held_out = data / "few.jsonl" if self.options.patience else None
        self.size, self.stop_after = way.get("size", 1), way.get("stop_after", 0)
        self.tokens = way.get("tokens", micro_batches.CPU_TOKENS)
        self.folder = work / way["name"]
        self.resumed: list[str] = []
        self.asks, self.lacks, self.draw = way.get("asks", False), way.get("lacks", ""), way.get("draw", 0)
        self.data, self.suite = data, recipe.evaluation.suites[0]
        if "from" in way:
            shutil.copytree(work / way["from"], self.folder)

    def start(self) -> tuple[list[int], IO[str]]:
        """Start all ranks; their process ids, and what the first one prints."""
        reading, writing = os.pipe()
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        pids = []
        for rank in range(self.size):
            pid = os.fork()
            if pid == 0:
                os.dup2(writing if rank == 0 else 2, 1)
                os.close(writing)
                self.be_rank(rank)
            pids.append(pid)
        os.close(writing)
        return pids, os.fdopen(reading)

    def be_rank(self, rank: int) -> None:
        """Train as one of the ranks, in a process that ends with it."""
        code, micro_batches.CPU_TOKENS = _FAILED, self.tokens
        try:
            ranks = Alone()
            if self.size > 1:
                places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": self.size, "MASTER_PORT": self.store.port}
                names = {"MASTER_ADDR": "127.0.0.1", "LLMOPS_HOST": "one", "LLMOPS_FIRST_HOST": "one"}
                os.environ |= {name: str(value) for name, value in places.items()} | names
                ranks = Team(os.environ)
            if rank:
                keep_quiet()
            folder = self.folder if ranks.first else self.folder.with_name(f"{self.folder.name}-{rank}")
            if self.lacks:
                take_gpu_branch(setattr, self.lacks)
            if self.draw:
                adapters.load_model = lambda folder: round_products_otherwise(load_model(folder), self.draw)
            if self.asks:
                self.ask(ranks, folder)
            else:
                finetune(*self.inputs, folder, self.stop(ranks), ranks, self.held_out)
            code = _SOUND
        except StoppedError:
            code = _SOUND
        except RunError as e:
            (self.folder / "error.txt").write_text(e.what)
            code = _SOUND
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def ask(self, ranks: Alone, folder: Path) -> None:
        """Leave the answers to all rows, eight in a batch, and how many batches this rank answered."""
        base, _, _, system = self.inputs
        rows = [row for _, row in read_rows(self.data / "held-out.jsonl")]
        evaluate.BATCH, between = 8, []
        ranks.connect()
        asked = load_model(base), load_tokenizer(base), self.suite, rows, system, []
        answers = run_suite(*asked, lambda: between.append(1), ranks)
        folder.mkdir()
        (folder / "answers.json").write_text(json.dumps({"answers": [*map(str, answers)], "batches": len(between)}))

    def stop(self, ranks: Alone) -> Any:
        asked = 0

        def stop() -> bool:
            nonlocal asked
            asked += 1
            return ranks.any_asks(asked >= self.stop_after > 0)

        return stop

    def run(self, kills: int) -> None:
        """To the end, or to where it stops."""
        draw = random.Random(self.folder.name)
        for _ in range(kills):
            pids, lines = self.start()
            self.follow(lines, f"step={draw.randint(2, 4)} ")
            time.sleep(draw.uniform(0, 0.15))  # a step and its checkpoint take about as long
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        if is_trained(self.folder):  # then a job starts no ranks for it either
            return
        pids, lines = self.start()
        self.follow(lines, "-")
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * self.size

    def follow(self, lines: IO[str], beginning: str) -> None:
        """What the first rank says, up to a line that begins so."""
        for line in lines:
            if line.startswith("resume="):
                self.resumed.append(line.strip().partition("=")[2])
            if line.startswith(beginning):
                return

    def found(self) -> dict[str, Any]:
        if self.asks:
            return json.loads((self.folder / "answers.json").read_text())
        if (error := self.folder / "error.txt").exists():
            return {"error": error.read_text()}
        newest = checkpoints.newest(self.folder)
        assert newest
        history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
        steps = [entry for entry in history if "loss" in entry]
        [result] = (self.folder / "trained").glob("*.safetensors")
        return {
            "losses": [entry["loss"] for entry in steps],
            "norm": steps[0]["grad_norm"],
            "validation": checkpoints.checked(self.folder / "trained").notes["validation_loss"],
            "sha256": sha256_file(result),
            "begun": (checkpoints.notes_of(newest) or {})["digest_before"],
            "shards": [path.stat().st_size for path in sorted((newest / "shards").iterdir())],
            "resumed": self.resumed,
        }


def main(base: Path, data: Path, recipe: Recipe, ways: list[dict[str, Any]]) -> dict[str, Any]:
    distributed_c10d._object_to_tensor = distributed_c10d._tensor_to_object = refuse  # type: ignore[assignment]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        for each in ways:
            way = Way(base, data, recipe, Path(work), each)
            way.run(each.get("kills", 0))
            if not way.stop_after:
                found[each["name"]] = way.found()
    return found


if __name__ == "__main__":
    base, data, recipe = (Path(a) for a in sys.argv[1:4])
    print(json.dumps(main(base, data, Recipe.load(recipe), json.loads(sys.argv[4]))))
