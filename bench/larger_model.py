"""A model of a larger one's shape with random weights: how fast a model computes does not depend on them."""

import shutil
import subprocess
from pathlib import Path

from tests.support.tiny_models.models import base_model, training_environ, training_python

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
    """Makes an unsigned version of TinyLlama-1.1B's shape, with SmolLM2's tokenizer: 1.1 billion weights, bf16.

    Args:
        folder: gets it; it takes 7 GB while it is made, 4.5 then.
    """
    source, version = folder / "source", folder / "model"
    subprocess.run([training_python(), "-c", _SCRIPT, str(base_model()), str(source)], check=True)
    options = ["--name", "larger", "--licence", "Apache-2.0"]
    command = [training_python(), "-m", "training", "import", str(source), str(version), *options]
    subprocess.run(command, env=training_environ(), stdout=subprocess.DEVNULL, check=True)
    shutil.rmtree(source)
    return version
