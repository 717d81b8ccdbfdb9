"""What several ranks and checkpoints cost: `python -m bench.training_ranks [--steps 5] [--batch 8] [--turns 6]`.

LoRA on SmolLM2-135M-Instruct and the rows of bench.training, one thread a rank, each way in processes of its own: real
tokens trained in a second of processor time of all ranks together, from the end of the first step to that of the last
one; by two ranks with copies of the model and in shards, and by one with a checkpoint after every step, to one rank
without. Waiting costs no processor time: on two free cores, ranks of one speed lose as much wall time as this shows.
"""

import argparse
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.training import write_rows
from contract.documents.recipe_training import TrainingRecipe
from tests.support.tiny_models.models import base_model, training_python

WAYS: dict[str, tuple[int, dict[str, Any]]] = {
    "one rank": (1, {}),
    "two ranks": (2, {}),
    "two ranks, in shards": (2, {"sharding": True}),
    "one rank, a checkpoint each step": (1, {"checkpoint_steps": 1}),
}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--rank", nargs=3, metavar=("OPTIONS", "BASE", "ROWS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rank:
        _be_rank(json.loads(given.rank[0]), Path(given.rank[1]), Path(given.rank[2]))
        return
    with tempfile.TemporaryDirectory(prefix="bench-training-ranks-") as name:
        rows = Path(name, "rows.jsonl")
        write_rows(rows, given.steps * given.batch, given.turns)
        first = None
        for way, (size, own) in WAYS.items():
            found = _measured(size, rows, {"batch_size": given.batch, "checkpoint_steps": 1000, "threads": 1, **own})
            seconds = sum(rank["seconds"] for rank in found)
            first = first or (seconds, found[0]["losses"])
            apart = max(abs(a - b) / b for a, b in zip(found[0]["losses"], first[1], strict=True))
            print(
                f"{way:34} {seconds / (given.steps - 1):6.2f} CPU-s a step, of one rank's speed "
                f"{first[0] / seconds:.2f}; losses at most {apart:.1e} apart",
                flush=True,
            )


def _measured(size: int, rows: Path, options: dict[str, Any]) -> list[dict[str, Any]]:
    """What each rank measured."""
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    shared |= {"LLMOPS_FIRST_HOST": "one", "LLMOPS_HOST": "one", "OMP_NUM_THREADS": "1"}
    ask = [training_python(), "-m", "bench.training_ranks", "--rank", json.dumps(options), str(base_model()), str(rows)]
    ranks = [
        subprocess.Popen(
            ask,
            env=os.environ | ({**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} if size > 1 else {}),
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    said = [rank.communicate()[0] for rank in ranks]
    if any(rank.returncode for rank in ranks):
        sys.exit("a rank failed: see above")
    return [json.loads(lines.splitlines()[-1]) for lines in said]


def _be_rank(options: dict[str, Any], base: Path, rows: Path) -> None:
    """Train as one of the ranks; print the seconds between the first and the last step, and the losses, as JSON."""
    from training.process import prepare_process, set_threads

    prepare_process()
    from training.ranks import Alone, Team
    from training.torch_trainer.finetune import finetune

    stamps: list[float] = []

    def note() -> bool:
        stamps.append(time.process_time())
        return False

    made, said = TrainingRecipe(max_tokens=512, learning_rate=1e-3, precision="f32", **options), io.StringIO()
    set_threads(1)
    ranks = Team(os.environ) if "RANK" in os.environ else Alone()
    with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(said):
        facts = finetune(base, rows, made, "", Path(work), note, ranks)
    losses = [float(loss) for loss in re.findall(r" loss=(\S+)", said.getvalue())]
    print(json.dumps({"seconds": stamps[facts.steps - 1] - stamps[0], "losses": losses}))


if __name__ == "__main__":
    main()
