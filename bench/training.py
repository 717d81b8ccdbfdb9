"""Speed of training relative to TRL's defaults: `python -m bench.training [--steps 5] [--batch 8] [--turns 6]`.

LoRA on SmolLM2-135M-Instruct and conversations of 1 to TURNS of the demo's questions, on one thread, each way in its
own process: tokens without padding trained per second of processor time, from the end of the first step to the end of
the last one. TRL gets the same tokens, labels, order and adapter, and has its own defaults otherwise: losses are equal
except for rounding.
"""

import argparse
import contextlib
import io
import json
import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from llmops_kit.core.documents.recipe_training import TrainingRecipe
from tests.support.tiny_models.models import base_model, training_python

WAYS = ("trl", "kit", "kit packed")
_ROWS = Path("recipes/chatbot/facts.jsonl")
_MAX_TOKENS = 512


class Measure(NamedTuple):
    """Measurements of one way of training."""

    tokens: float  # trained per second of processor time
    losses: list[float]
    peak_mb: int


def main() -> None:
    """Prints the measurements."""
    found = measure_ways(__doc__, WAYS, _measured)
    trl = found["trl"]
    for way, measure in found.items():
        apart = max(abs(a - b) / b for a, b in zip(measure.losses, trl.losses, strict=True))
        print(
            f"{way:10} {measure.tokens:6.1f} tokens/CPU-s, to TRL's defaults {measure.tokens / trl.tokens:.2f}; peak "
            f"memory {measure.peak_mb} MB; losses {measure.losses[0]:.4f} to {measure.losses[-1]:.4f}, at most "
            f"{apart:.1%} apart from TRL's"
        )


def measure_ways(
    description: str | None, ways: Sequence[str], measured: Callable[[str, Path, dict[str, Any]], Measure]
) -> dict[str, Measure]:
    """Reads the command line, and measures each way on the same rows, with the same options of a recipe's training."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=6)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-training-") as name:
        rows = Path(name, "rows.jsonl")
        write_rows(rows, given.steps * given.batch, given.turns)
        options = {"batch_size": given.batch, "max_tokens": _MAX_TOKENS, "learning_rate": 1e-3, "threads": 1}
        return {way: measured(way, rows, options) for way in ways}


def write_rows(path: Path, count: int, turns: int) -> None:
    """Writes conversations of 1 to `turns` questions with their answers, drawn with a fixed seed."""
    draw = random.Random(0)
    pairs = [json.loads(line)["messages"] for line in _ROWS.read_text().splitlines()]
    chats = [list(chain(*draw.sample(pairs, draw.randint(1, turns)))) for _ in range(count)]
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))


def kit(base: Path, rows: Path, options: TrainingRecipe, finetune: Any) -> tuple[list[float], list[float]]:
    """Trains with one of the kit's trainers; returns the losses, and the processor time after each step."""
    stamps: list[float] = []

    def note() -> bool:
        stamps.append(time.process_time())
        return False

    said = io.StringIO()
    with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(said):
        facts = finetune(base, rows, options, "", Path(work), note)
    return [float(loss) for loss in re.findall(r" loss=(\S+)", said.getvalue())], stamps[: facts.steps]


def trl(base: Path, rows: Path, options: TrainingRecipe) -> tuple[list[float], list[float]]:
    """Trains with TRL's SFTTrainer; returns the same."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from llmops_kit.training.data.examples import load_examples
    from llmops_kit.training.devices import best_device
    from llmops_kit.training.models.weights import load_tokenizer
    from llmops_kit.training.torch_trainer.adapters import build_model, set_input_casts
    from llmops_kit.training.torch_trainer.fused_updates import set_fused_updates

    stamps: list[float] = []

    class Stamps(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            stamps.append(time.process_time())

    with tempfile.TemporaryDirectory() as work:
        tokenizer = load_tokenizer(base)
        examples = load_examples(rows, tokenizer, options, "", Path(work, "rows.arrow"))
        sequences = [examples[i].sequences[0] for i in range(len(examples))]
        table = [
            {"input_ids": s.ids.tolist(), "labels": [t if a else -100 for t, a in zip(*s, strict=True)]}
            for s in sequences
        ]
        model = build_model(base, options, "f32", best_device())
        set_input_casts(model, True)  # peft's defaults, which the kit changes
        set_fused_updates(model, False)
        trainer: Any = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=work,
                num_train_epochs=1,
                per_device_train_batch_size=options.batch_size,
                learning_rate=options.learning_rate,
                seed=options.seed,
                data_seed=options.seed,
                dataset_kwargs={"skip_prepare_dataset": True},
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=best_device().type == "cpu",
            ),
            train_dataset=Dataset.from_list(table),
            processing_class=tokenizer,
            callbacks=[Stamps()],
        )
        with contextlib.redirect_stdout(io.StringIO()):
            trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], stamps


def run(way: str, base: Path, rows: Path, options: dict[str, Any]) -> None:
    """Trains one way, and prints its Measure as JSON."""
    from llmops_kit.training.process import set_threads
    from llmops_kit.training.torch_trainer.finetune import finetune

    made = TrainingRecipe(**options, packing=way == "kit packed")
    set_threads(1)
    report(base, rows, made, *(trl(base, rows, made) if way == "trl" else kit(base, rows, made, finetune)))


def report(base: Path, rows: Path, options: TrainingRecipe, losses: list[float], stamps: list[float]) -> None:
    """Prints the Measure of a training as JSON, from its losses and the processor time after each step."""
    import resource

    from llmops_kit.training.data.examples import load_examples
    from llmops_kit.training.models.weights import load_tokenizer

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    with tempfile.TemporaryDirectory() as work:
        tokens = load_examples(rows, load_tokenizer(base), options, "", Path(work, "rows.arrow")).tokens
    measured = tokens * (len(stamps) - 1) / len(stamps)
    print(json.dumps(Measure(measured / (stamps[-1] - stamps[0]), losses, peak)))


def _measured(way: str, rows: Path, options: dict[str, Any]) -> Measure:
    return measure(training_python(), "bench.training", way, rows, options)


def measure(python: str, module: str, way: str, rows: Path, options: dict[str, Any]) -> Measure:
    """Measures a way by a module's `run`, in its own process on one thread."""
    program = (
        "from llmops_kit.training.process import prepare_process\nprepare_process()\nfrom pathlib import Path\n"
        f"from {module} import run\nrun({way!r}, Path({str(base_model())!r}), Path({str(rows)!r}), {options!r})"
    )
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([python, "-c", program], env=environ, stdout=subprocess.PIPE, text=True, check=True)
    return Measure(*json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
