"""Creates a model of a larger one's shape with random weights, on which a model's speed does not depend."""

import shutil
from pathlib import Path

from tests.support.tiny_models.models import base_model, run_in_training_image

_SCRIPT = """
import sys, torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
base, folder = sys.argv[1:]
config = AutoConfig.from_pretrained(base)
config.update({"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
               "num_key_value_heads": 4, "head_dim": 64})
torch.manual_seed(0)
AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
AutoTokenizer.from_pretrained(base).save_pretrained(folder)
"""


def larger_model(folder: Path) -> Path:
    """Returns a new, unsigned version with TinyLlama-1.1B's layers and SmolLM2's tokenizer, in bf16.

    Args:
        folder: receives it, as `model`.
    """
    source, version = folder / "source", folder / "model"
    run_in_training_image("-c", _SCRIPT, str(base_model()), str(source))
    options = ["--name", "larger", "--licence", "Apache-2.0"]
    run_in_training_image("-m", "llmops_kit.training", "import", str(source), str(version), *options)
    shutil.rmtree(source)
    return version
