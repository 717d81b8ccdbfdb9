"""Run in the training image's environment, for `test_sharded_memory`: what each of two ranks in shards allocates to
load a model and to train it, beside what `train --check` says. python sharded_memory.py
    -> [{"size": ..., "options": ..., "loaded": most bytes while loading, to the weights' own, "resident": those of each
         rank's weights, "foreseen": what the check says of a step, to the most bytes of each rank's}]

Measured are allocations of torch's own allocator, as in measured.py. Each rank is a child of this process.
"""

import gc
import json
import os
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmops_kit.training.process import prepare_process

prepare_process()

import peft  # noqa: E402, F401
import torch  # noqa: E402
from torch.distributed import TCPStore  # noqa: E402  # pyright: ignore[reportPrivateImportUsage]
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

from llmops_kit.core.documents.estimate import EstimateRequest, MachineMemory  # noqa: E402
from llmops_kit.core.documents.recipe_training import TrainingRecipe  # noqa: E402
from llmops_kit.training.devices import best_device  # noqa: E402
from llmops_kit.training.process import keep_quiet  # noqa: E402
from llmops_kit.training.ranks import Team  # noqa: E402
from llmops_kit.training.torch_trainer.estimate import estimate  # noqa: E402
from llmops_kit.training.torch_trainer.fake_step import Shape  # noqa: E402
from llmops_kit.training.torch_trainer.scaled_trainer import CHECKPOINTING  # noqa: E402
from llmops_kit.training.torch_trainer.sharded_loading import load_if_sharded  # noqa: E402
from tests.emulated.training.programs.measured import SIZES, peak_of, step_of  # noqa: E402

RANKS = 2
CASES: list[tuple[str, dict[str, Any]]] = [
    ("5M", {"adapter": "none", "precision": "f32"}),
    ("50M", {"adapter": "none", "precision": "bf16", "gradient_checkpointing": True}),
    ("28M", {"adapter": "lora", "precision": "bf16"}),
]
APART = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False}
TIED = {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
CONFIGS: dict[str, dict[str, Any]] = {
    "5M": SIZES["5M"] | APART,
    "50M": SIZES["50M"] | APART,
    # Of SmolLM2-135M's width; half of the weights are embeddings. Small, since on a Zen 3, which has no AVX-512,
    # torch computes some products of bf16 100 times slower than those of f32.
    "28M": {"vocab_size": 24576, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 4} | TIED,
}
ROWS, TOKENS, TARGETS = 4, 32, 16  # of a rank's micro-batch; what is assumed where no rows are counted


def ranks_do(work: Callable[[Team], Any]) -> list[Any]:
    """Forks two ranks, which do the work together; returns what each returned."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    readers, pids = [], []
    for rank in range(RANKS):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": RANKS, "MASTER_PORT": store.port}
                names = {"MASTER_ADDR": "127.0.0.1", "LLMOPS_HOST": "one", "LLMOPS_FIRST_HOST": "one"}
                os.environ |= {name: str(value) for name, value in places.items()} | names
                keep_quiet()
                os.write(writing, json.dumps(work(Team(os.environ))).encode())
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        os.close(writing)
        readers.append(reading)
        pids.append(pid)
    texts = [os.fdopen(reading).read() for reading in readers]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * RANKS
    return [json.loads(text) for text in texts]


def measured(ranks: Team, folder: Path, options: TrainingRecipe) -> dict[str, int]:
    """Bytes: the most in use while loading, of the weights, and the most in use in a step when the optimizer's moments
    are there. A rank that waits for the other one holds more for a while: of three steps, the least counts.
    """
    gc.collect()  # the model before, which would be freed meanwhile
    models: list[Any] = []
    mapped = {path.stat().st_size for path in folder.glob("*.safetensors")}  # pages of files, which all ranks share
    precision: Any = options.precision
    loaded = peak_of(lambda: models.append(load_if_sharded(folder, options, precision, ranks, best_device())), mapped)
    [model] = models
    model.train()
    if options.gradient_checkpointing is True:
        model.activation_checkpointing_enable(dict(CHECKPOINTING))
    # foreach: as on GPUs, which the estimate is about
    step = step_of(model, Shape(ROWS, TOKENS, ROWS * TARGETS), precision, foreach=True)
    step()
    weights = [(weight.to_local().nbytes, weight.requires_grad) for weight in model.parameters()]
    kept, moments = sum(size for size, _ in weights), 2 * sum(size for size, trained in weights if trained)
    return {"loaded": loaded, "kept": kept, "stepped": kept + moments + min(peak_of(step) for _ in range(3))}


def main(work: Path) -> list[dict[str, Any]]:
    asked = []
    for size, settings in CASES:
        folder, dtype = work / size, torch.float32 if settings["adapter"] == "none" else torch.bfloat16
        config = AutoConfig.for_model("llama", **CONFIGS[size])
        AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(folder)
        own = {"sharding": True, "batch_size": RANKS * ROWS, "max_tokens": TOKENS, **settings}
        asked.append((folder, TrainingRecipe.model_validate(own)))

    def work_of(ranks: Team) -> list[dict[str, int]]:
        ranks.connect()
        return [measured(ranks, *each) for each in asked]

    one, other = ranks_do(work_of)  # first: once autograd has run, torch refuses to in a child
    machine, found = MachineMemory(name="two", gpus=RANKS, memory=1 << 40, bf16=True), []
    for (size, settings), (folder, options), *ranks in zip(CASES, asked, one, other, strict=True):
        [fit] = estimate(folder, EstimateRequest(training=options, machines=[machine])).machines
        assert (fit.sharded, fit.micro_batch) == (True, ROWS)
        whole = RANKS * fit.peak.weights
        found.append(
            {
                "size": size,
                "options": settings,
                "loaded": max(rank["loaded"] for rank in ranks) / whole,
                "resident": [rank["kept"] / whole for rank in ranks],
                "foreseen": [round(fit.peak.total / rank["stepped"], 3) for rank in ranks],
            }
        )
    return found


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(main(Path(temporary))))
