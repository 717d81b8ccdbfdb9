"""A training loop of our own on torch and peft alone: what finetune must equal. Prints JSON; run in the training image.

python oracle.py BASE ROWS RECIPE
    -> {"oracle": [losses], "kit": [losses], "distance": between the adapters, "moved": from the start}
"""

import json
import sys
import tempfile
from pathlib import Path

from training.process import prepare_process

prepare_process()

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402
from transformers import set_seed  # noqa: E402

from contract.documents.recipe import Recipe  # noqa: E402
from contract.documents.recipe_training import Training  # noqa: E402
from training import checkpoints  # noqa: E402
from training.finetune import finetune  # noqa: E402
from training.weights import load_model, load_tokenizer  # noqa: E402


def conversations(tokenizer, rows: Path, system: str) -> list[tuple[list[int], int]]:
    """Token ids and where the answer begins, written out by hand for the tiny model's template."""
    found = []
    for line in rows.read_text().splitlines():
        question, answer = (m["content"] for m in json.loads(line)["messages"])
        prompt = (
            f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        )
        ids = [tokenizer.encode(text, add_special_tokens=False) for text in (prompt, f"{answer}<|im_end|>")]
        found.append((ids[0] + ids[1], len(ids[0])))
    return found


def order(count: int, options: Training) -> list[list[int]]:
    """The batches of all epochs: each epoch's order is drawn with the seed plus the epoch's number."""
    batches = []
    for epoch in range(options.epochs):
        rows = torch.randperm(count, generator=torch.Generator().manual_seed(options.seed + epoch)).tolist()
        batches += [rows[i : i + options.batch_size] for i in range(0, count, options.batch_size)]
    return batches


def train(
    base: Path, rows: Path, recipe: Recipe
) -> tuple[list[float], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Losses, and the adapter after and before. One conversation at a time, without padding."""
    options = recipe.training
    model = load_model(base)
    set_seed(options.seed)
    model = get_peft_model(
        model,
        LoraConfig(r=options.lora.r, lora_alpha=options.lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    model.train()
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in weights.items()}
    first = {name: torch.zeros_like(p) for name, p in weights.items()}
    second = {name: torch.zeros_like(p) for name, p in weights.items()}
    examples = conversations(load_tokenizer(base), rows, recipe.serving.system_prompt)
    batches, losses = order(len(examples), options), []
    for step, batch in enumerate(batches):
        tokens = sum(len(examples[i][0]) - examples[i][1] for i in batch)
        total = 0.0
        for i in batch:
            ids, start = examples[i]
            logits = model(input_ids=torch.tensor([ids])).logits[0, start - 1 : -1]
            loss = cross_entropy(logits, torch.tensor(ids[start:]), reduction="sum") / tokens
            loss.backward()
            total += loss.item()
        losses.append(total)
        adam(weights, first, second, step, rate(step, len(batches), options))
    return losses, {n: p.detach() for n, p in weights.items()}, before


def rate(step: int, total: int, options: Training) -> float:
    """Linear warm-up, then linear decay to 0."""
    if step < options.warmup_steps:
        return options.learning_rate * step / options.warmup_steps
    return options.learning_rate * (total - step) / (total - options.warmup_steps)


def adam(weights, first, second, step: int, learning_rate: float) -> None:
    """Clip to norm 1, then Adam (Kingma and Ba 2015) with torch's constants."""
    norm = torch.stack([(p.grad**2).sum() for p in weights.values()]).sum().sqrt()
    scale = min(1.0, 1.0 / (norm.item() + 1e-6))
    with torch.no_grad():
        for name, p in weights.items():
            gradient = p.grad * scale
            first[name].mul_(0.9).add_(0.1 * gradient)
            second[name].mul_(0.999).add_(0.001 * gradient**2)
            mean, square = first[name] / (1 - 0.9 ** (step + 1)), second[name] / (1 - 0.999 ** (step + 1))
            p -= learning_rate * mean / (square.sqrt() + 1e-8)
            p.grad = None


def compare(base: Path, rows: Path, recipe: Recipe) -> dict[str, object]:
    """Train both ways; losses, and how far the adapters end apart."""
    torch.set_num_threads(1)
    losses, after, before = train(base, rows, recipe)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        finetune(base, rows, recipe.training, recipe.serving.system_prompt, folder)
        newest = checkpoints.newest(folder)
        assert newest
        history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
        saved = load_file(folder / "trained" / "adapter_model.safetensors")
    kit = {name.replace(".weight", ".default.weight"): tensor for name, tensor in saved.items()}
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
    arguments = [Path(a) for a in sys.argv[1:]]
    print(json.dumps(compare(arguments[0], arguments[1], Recipe.load(arguments[2]))))
