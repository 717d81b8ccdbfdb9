"""A training loop of our own on torch and peft alone: what finetune must equal. Prints JSON; run in the training image.

python oracle.py BASE DATA RECIPES
    -> for each recipe of a JSON list {"oracle": [losses], "kit": [losses], "distance": between the trained weights,
       "moved": from the start}

DATA is a folder that `write_rows` filled.
"""

import json
import math
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from llmops_kit.training.process import prepare_process

prepare_process()

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch.nn.functional import logsigmoid  # noqa: E402
from transformers import set_seed  # noqa: E402

from llmops_kit.core.documents.recipe import Recipe  # noqa: E402
from llmops_kit.core.documents.recipe_training import TrainingRecipe  # noqa: E402
from llmops_kit.training import checkpoints  # noqa: E402
from llmops_kit.training.models.weights import load_model, load_tokenizer  # noqa: E402
from llmops_kit.training.torch_trainer.finetune import finetune  # noqa: E402
from tests.support.runs.training import ROWS  # noqa: E402


class Tokens(NamedTuple):
    """A sequence, and where its learned part begins."""

    ids: list[int]
    start: int


def examples_of(tokenizer, rows: Path, recipe: Recipe) -> list[list[Tokens]]:
    """Each example's sequences, written out by hand for the tiny model's template: of preferences both answers."""
    size = recipe.training.max_tokens

    def tokens(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    def answered(question: str, answer: str) -> Tokens:
        asked = (
            f"<|im_start|>system\n{recipe.serving.system_prompt}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )
        return Tokens(tokens(asked) + tokens(f"{answer}<|im_end|>"), len(tokens(asked)))

    found = []
    for row in map(json.loads, rows.read_text().splitlines()):
        match recipe.training.method:
            case "sft":
                found.append([answered(*(m["content"] for m in row["messages"]))])
            case "dpo":
                found.append([answered(row["prompt"], row[side].strip()) for side in ("chosen", "rejected")])
            case "pretrain":
                ids = tokens(f"{row['text']}<|im_end|>")
                found += [[Tokens(ids[i : i + size], 1)] for i in range(0, len(ids) - 1, size - 1)]
    return found


def order(count: int, options: TrainingRecipe) -> list[list[int]]:
    """The batches of all epochs: each epoch's order is drawn with the seed plus the epoch's number."""
    batches, epoch = [], 0
    while (len(batches) < options.max_steps) if options.max_steps else (epoch < options.epochs):
        rows = torch.randperm(count, generator=torch.Generator().manual_seed(options.seed + epoch)).tolist()
        batches += [rows[i : i + options.batch_size] for i in range(0, count, options.batch_size)]
        epoch += 1
    return batches[: options.max_steps or None]


def train(
    base: Path, rows: Path, recipe: Recipe, start: dict[str, torch.Tensor] | None = None
) -> tuple[list[float], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Losses, and the trained weights after and before. One sequence at a time, without padding. `start`: where some
    weights begin, in the place of what peft draws.
    """
    options = recipe.training
    model = load_model(base)
    set_seed(options.seed)
    if options.adapter == "lora":
        lora = LoraConfig(
            r=options.lora.r, lora_alpha=options.lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        model = get_peft_model(model, lora)
    model.train()
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for name, value in (start or {}).items():
        weights[name].data.copy_(value)
    before = {name: p.detach().clone() for name, p in weights.items()}
    first = {name: torch.zeros_like(p) for name, p in weights.items()}
    second = {name: torch.zeros_like(p) for name, p in weights.items()}
    examples, reference = examples_of(load_tokenizer(base), rows, recipe), load_model(base)
    batches, losses = order(len(examples), options), []
    for step, batch in enumerate(batches):
        tokens = sum(len(s.ids) - s.start for i in batch for s in examples[i])
        total = 0.0
        for i in batch:
            if options.method == "dpo":
                loss = preference_loss(model, reference, examples[i], options.beta) / len(batch)
            else:
                loss = -log_probability(model, *examples[i]) / tokens
            loss.backward()
            total += loss.item()
        losses.append(total)
        adam(weights, first, second, step, rate(step, len(batches), options), options.weight_decay)
    return losses, {n: p.detach() for n, p in weights.items()}, before


def log_probability(model, sequence: Tokens) -> torch.Tensor:
    """Of a sequence's learned part."""
    logits = model(input_ids=torch.tensor([sequence.ids])).logits[0, sequence.start - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(sequence.ids[sequence.start :])[:, None]).sum()


def preference_loss(model, reference, answers: list[Tokens], beta: float) -> torch.Tensor:
    """Equation 7 of Rafailov et al. 2023."""
    chosen, rejected = answers
    with torch.no_grad():
        usual = log_probability(reference, chosen) - log_probability(reference, rejected)
    return -logsigmoid(beta * (log_probability(model, chosen) - log_probability(model, rejected) - usual))


def rate(step: int, total: int, options: TrainingRecipe) -> float:
    """Linear warm-up, then the schedule."""
    if step < options.warmup_steps:
        return options.learning_rate * step / options.warmup_steps
    done = (step - options.warmup_steps) / (total - options.warmup_steps)
    left = {"linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "constant": 1.0}
    return options.learning_rate * left[options.schedule]


def adam(weights, first, second, step: int, learning_rate: float, decay: float) -> None:
    """Clip to norm 1, then AdamW (Loshchilov and Hutter 2019) with torch's constants; vectors are norms and biases."""
    norm = torch.stack([(p.grad**2).sum() for p in weights.values()]).sum().sqrt()
    scale = min(1.0, 1.0 / (norm.item() + 1e-6))
    with torch.no_grad():
        for name, p in weights.items():
            gradient = p.grad * scale
            first[name].mul_(0.9).add_(0.1 * gradient)
            second[name].mul_(0.999).add_(0.001 * gradient**2)
            mean, square = first[name] / (1 - 0.9 ** (step + 1)), second[name] / (1 - 0.999 ** (step + 1))
            p.mul_(1 - learning_rate * (decay if p.ndim > 1 else 0))
            p -= learning_rate * mean / (square.sqrt() + 1e-8)
            p.grad = None


def compare(base: Path, rows: Path, recipe: Recipe) -> dict[str, object]:
    """Train both ways; losses, and how far the trained weights end apart."""
    losses, after, before = train(base, rows, recipe)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        finetune(base, rows, recipe.training, recipe.serving.system_prompt, folder)
        newest = checkpoints.newest(folder)
        assert newest
        history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
        saved = load_file(newest / "shards" / "rank-0.safetensors").items()
        kit = {name.removeprefix("weight/"): tensor for name, tensor in saved if name.startswith("weight/")}
    assert kit.keys() == after.keys()

    def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
        return sum(((one[n] - other[n]) ** 2).sum().item() for n in one) ** 0.5

    return {
        "oracle": losses,
        "kit": [entry["loss"] for entry in history if "loss" in entry],
        "distance": distance(after, kit),
        "moved": distance(after, before),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    base, data = Path(sys.argv[1]), Path(sys.argv[2])
    recipes = [Recipe.parse(each, "RECIPES") for each in json.loads(Path(sys.argv[3]).read_text())]
    print(json.dumps([compare(base, data / ROWS[recipe.training.method], recipe) for recipe in recipes]))
