"""Train rows of many lengths in bf16, on a small random Llama; run in the training image.

python unequal.py -> MB by which the process grew after the longest batch, as JSON
"""

import json
from pathlib import Path
from typing import Any

from llmops_kit.training.process import prepare_process, set_threads

prepare_process()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from llmops_kit.core.documents.recipe_training import TrainingRecipe  # noqa: E402
from llmops_kit.training.data.chat import Encoded  # noqa: E402
from llmops_kit.training.data.examples import Example  # noqa: E402
from llmops_kit.training.torch_trainer.adapters import with_adapter  # noqa: E402
from llmops_kit.training.torch_trainer.batch_tensors import Collator  # noqa: E402
from llmops_kit.training.torch_trainer.objectives import TokenLoss  # noqa: E402

LENGTHS = range(66, 130, 2)
_VOCABULARY = 64


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def train(model: Any, length: int) -> None:
    """Take the gradients of two equal rows of random tokens, of which the last 32 are learned."""
    ids = np.random.default_rng(length).integers(_VOCABULARY, size=length, dtype=np.int32)
    row = Example([Encoded(ids, np.arange(length) >= length - 32)], 1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = TokenLoss().total(model, Collator(0)([row, row]))
    loss.backward()


def main() -> None:
    """Train the longest rows, then all lengths."""
    set_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=1,
        num_attention_heads=3,
        num_key_value_heads=1,
    )
    bare: Any = LlamaForCausalLM(config)
    model = with_adapter(bare.to(torch.bfloat16), TrainingRecipe(max_tokens=max(LENGTHS))).train()
    train(model, max(LENGTHS))
    before = resident()
    for length in LENGTHS:
        train(model, length)
    print(json.dumps((resident() - before) / (1 << 20)))


if __name__ == "__main__":
    main()
