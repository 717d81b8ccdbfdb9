"""Run in the training image's environment, for `test_estimate`: real steps' peaks of memory beside those that are
traced, and how machines would train models of 7 and 8 billion weights.

Measured are all allocations of torch's own allocator on the processor, as its profiler records them: what
`torch.cuda.max_memory_allocated` tells of a GPU. python measured.py SMOLLM2 CONFIGS TINY ROWS
"""

import json
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoConfig, AutoModelForCausalLM

from llmops_kit.core.documents.estimate import EstimateRequest, MachineMemory, RowLengths
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.training.devices import torch_dtype
from llmops_kit.training.torch_trainer import token_losses
from llmops_kit.training.torch_trainer.adapters import with_adapter
from llmops_kit.training.torch_trainer.estimate import _Plan, estimate
from llmops_kit.training.torch_trainer.fake_step import Shape, layers_alike, outline, trace_step
from llmops_kit.training.torch_trainer.objectives import TokenLoss
from llmops_kit.training.torch_trainer.scaled_trainer import CHECKPOINTING
from tests.support.checkout import CHECKOUT

SIZES = {
    "5M": {"vocab_size": 4096, "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 8},
    "50M": {"vocab_size": 16000, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 12},
}
CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("5M", {"adapter": "lora"}, "bf16"),
    ("5M", {"adapter": "none"}, "f32"),
    ("50M", {"adapter": "none", "gradient_checkpointing": True}, "bf16"),
    ("51M", {"adapter": "lora"}, "f32"),
]
LAYERS = 6
"""Of SmolLM2's 30: all are alike, and what it is asked for here are its widths and tied embeddings."""
SHAPE = Shape(rows=4, tokens=64, targets=4 * 20)
GIGABYTES = {"A10G": (1, 24), "8xA10G": (8, 24), "A100-40": (1, 40), "8xA100-40": (8, 40), "H100": (1, 80)}
LARGE = [
    ("llama-3.1-8b", "lora", list(GIGABYTES)),
    ("llama-3.1-8b", "none", ["8xA10G", "8xA100-40", "H100"]),
]
RECIPES = {
    "assistant-8b": ("llama-3.1-8b", ["A10G"]),
    "llama-8b-8xa10g": ("llama-3.1-8b", ["A10G", "8xA10G"]),
    "qwen-7b-a100": ("qwen2.5-7b", ["A10G", "A100-40"]),
    "qwen-7b-h100": ("qwen2.5-7b", ["A100-40", "H100"]),
}
"""Recipes of the kit, the configuration of each one's base model, and machines, the last of which it is for. Others
train alike on shorter rows.
"""


def peak_of(step: Any, mapped: Collection[int] = ()) -> int:
    """Bytes above those in use before, without files of these sizes, which torch counts where they are mapped."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    live = peak = 0
    recorded: Any = profiler.profiler
    events = [e for e in recorded.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += 0 if event.nbytes() in mapped else event.nbytes()
        peak = max(peak, live)
    return peak


def step_of(model: Any, shape: Shape, precision: Any, **adamw: Any) -> Callable[[], None]:
    """A training step on random rows."""
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], **adamw)
    ids = torch.randint(0, model.config.vocab_size, (shape.rows, shape.tokens))
    places = torch.arange(shape.targets)
    batch = {"input_ids": ids, "predicts": places, "targets": ids.flatten()[places], "sides": []}

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = TokenLoss().total(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measured(config: Any, options: TrainingRecipe, precision: Any) -> int:
    """The second step's peak, when the optimizer's moments are there. Weights are random, in `build_model`'s layout."""
    dtype = torch.float32 if options.adapter == "none" else torch_dtype(precision)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    model = model if options.adapter == "none" else with_adapter(model, options)
    model.train()
    if options.gradient_checkpointing is True:
        model.activation_checkpointing_enable(dict(CHECKPOINTING))
    step = step_of(model, SHAPE, precision)
    step()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    there = sum(weight.nbytes for weight in model.parameters()) + 2 * sum(weight.nbytes for weight in trained)
    return there + peak_of(step)


def traced(config: Any, options: TrainingRecipe, precision: Any, shape: Shape = SHAPE, whole: bool = False) -> int:
    shortened = not whole and layers_alike(outline(config, options, precision))
    checkpointing = options.gradient_checkpointing is True
    trace = trace_step(
        config, options, precision, shape, checkpointing=checkpointing, foreach=False, shortened=shortened
    )
    return max(trace.start, trace.end, trace.update).total


def small(smollm2: str) -> list[dict[str, Any]]:
    found = []
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    for size, settings, precision in CASES:
        config = AutoConfig.for_model("llama", **SIZES[size], **heads) if size in SIZES else smollm2
        if isinstance(config, str):
            config = AutoConfig.from_pretrained(config, num_hidden_layers=LAYERS)
        options = TrainingRecipe.model_validate(settings)
        ratio = traced(config, options, precision) / measured(config, options, precision)
        found.append({"size": size, "precision": precision, **settings, "ratio": round(ratio, 3)})
    return found


def shortcuts() -> dict[str, Any]:
    """Peaks that are worked out from traces, beside those of whole traces."""
    config = AutoConfig.for_model("llama", **SIZES["5M"], num_attention_heads=4, num_key_value_heads=2)
    found: dict[str, Any] = {"depth": [], "rows": []}
    for settings in ({"adapter": "none"}, {"adapter": "lora", "gradient_checkpointing": True}):
        options = TrainingRecipe.model_validate(settings)
        found["depth"].append([traced(config, options, "bf16", whole=whole) for whole in (False, True)])
    found["masks"] = [traced(config, options, "bf16", SHAPE._replace(masked=masked)) for masked in (False, True)]
    config.vocab_size = 1 << 16  # of 3 rows and fewer, logits are widened all at once
    options = TrainingRecipe(batch_size=16, max_tokens=64)
    found["parts"] = [traced(config, options, "bf16", Shape(16, 64, 20 * 16))]
    with patch.object(token_losses, "_TRACED_PARTS", None):
        found["parts"].append(traced(config, options, "bf16", Shape(16, 64, 20 * 16)))
    plan = _Plan(config, options, RowLengths(counted=False, longest=64, loss_bearing=20), [[64]] * 16)
    for rows in (1, 2, 4, 8, 16):
        between = plan._peak(rows, 16, 0, "bf16", False, 1, False)[0]
        found["rows"].append(between / traced(config, options, "bf16", Shape(rows, 64, 20 * rows)))
    return found


def layouts(tokenizer: Path, rows: Path) -> list[dict[str, Any]]:
    """How a processor and a GPU would train rows of unequal lengths, each in its own row and packed."""
    machines = [MachineMemory(name=f"{gpus}", gpus=gpus, memory=1 << 34, bf16=True) for gpus in (0, 1)]
    found = []
    for packing in (False, True):
        options = TrainingRecipe(packing=packing, batch_size=9, max_tokens=256)
        answer = estimate(tokenizer, EstimateRequest(training=options, rows=str(rows), machines=machines))
        found += [fit.model_dump() | {"total": fit.peak.total} for fit in answer.machines]
    return found


def large(configs: Path) -> dict[str, Any]:
    """How machines would train: by the recipes of the kit, and by others."""
    asked = {f"{model} {adapter}": (model, names, options_of(adapter)) for model, adapter, names in LARGE}
    for recipe, (model, names) in RECIPES.items():
        asked[recipe] = (model, names, Recipe.load(CHECKOUT / "recipes" / f"{recipe}.yaml").training)
    found: dict[str, Any] = {}
    for key, (model, names, options) in asked.items():
        machines = [
            MachineMemory(name=name, gpus=GIGABYTES[name][0], memory=GIGABYTES[name][1] * 10**9, bf16=True)
            for name in names
        ]
        answer = estimate(configs / model, EstimateRequest(training=options, machines=machines))
        fits = {fit.name: fit.model_dump() | {"total": fit.peak.total} for fit in answer.machines}
        found[key] = fits | {"parameters": answer.parameters, "trained": answer.trained}
    return found


def options_of(adapter: str) -> TrainingRecipe:
    return TrainingRecipe.model_validate({"adapter": adapter, "max_tokens": 1024, "batch_size": 16})


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    smollm2, configs, tiny, rows = sys.argv[1:]
    found = {"small": small(smollm2), "shortcuts": shortcuts(), "layouts": layouts(Path(tiny), Path(rows))}
    print(json.dumps(found | {"large": large(Path(configs))}))
