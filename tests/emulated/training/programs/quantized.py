"""Train an adapter beside 4-bit weights, and merge it. Prints JSON; run in the training image.

python quantized.py BASE ROWS RECIPE
    -> {"linear": kinds of the frozen linear layers, "head": the head's, "frozen": dtypes of weights that are not
        trained, "trained": those of the others, "learns": whether all of the latter have the same gradients before and
        after a pass of evaluation, "losses": [first, last] of the training, "versions": mean loss on the
        rows of [the base model, the merged version], in bf16}
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from llmops_kit.training.process import prepare_process

prepare_process()

import torch  # noqa: E402

from llmops_kit.core.documents.recipe import Recipe  # noqa: E402
from llmops_kit.training.data.examples import load_examples  # noqa: E402
from llmops_kit.training.models.merge import merge  # noqa: E402
from llmops_kit.training.models.weights import load_model, load_tokenizer  # noqa: E402
from llmops_kit.training.torch_trainer.adapters import build_model  # noqa: E402
from llmops_kit.training.torch_trainer.batch_tensors import Collator  # noqa: E402
from llmops_kit.training.torch_trainer.finetune import finetune  # noqa: E402
from llmops_kit.training.torch_trainer.objectives import TokenLoss  # noqa: E402


def gradients(model: Any, batch: Any) -> list[torch.Tensor]:
    """Of the trained weights."""
    model.train()
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):  # as the trainer
        loss = TokenLoss().total(model, batch)
    loss.backward()
    return [p.grad.clone() for p in model.parameters() if p.requires_grad]


def evaluate(model: Any, batch: Any) -> None:
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        TokenLoss().total(model, batch)


def main(base: Path, rows: Path, recipe: Recipe) -> dict[str, object]:
    """Train, merge and measure."""
    options, prompt = recipe.training, recipe.serving.system_prompt
    model = build_model(base, options, "bf16", torch.device("cpu"))
    layers = [m.base_layer for m in model.modules() if hasattr(m, "lora_A")]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        facts = finetune(base, rows, options, prompt, work)
        (work / "version").mkdir()
        merge(base, work / "trained", work / "version")
        examples = load_examples(rows, load_tokenizer(base), options, prompt, work / "rows.arrow")
        batch = Collator(0)([examples[i] for i in range(len(examples))])
        before = gradients(model, batch)
        evaluate(model, batch)
        after = gradients(model, batch)
        versions = [load_model(folder, torch.bfloat16) for folder in (base, work / "version")]
        with torch.inference_mode():
            losses = [float(TokenLoss().total(each, batch)) / TokenLoss().items(batch) for each in versions]
    return {
        "linear": sorted({type(layer).__name__ for layer in layers}),
        "head": type(model.get_output_embeddings()).__name__,
        "frozen": sorted({str(p.dtype) for p in model.parameters() if not p.requires_grad}),
        "trained": sorted({str(p.dtype) for p in model.parameters() if p.requires_grad}),
        "learns": all(map(torch.equal, before, after)),
        "losses": [facts.first_loss, facts.last_loss],
        "versions": losses,
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), Recipe.load(Path(sys.argv[3])))))
