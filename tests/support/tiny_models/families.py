"""A tiny random model of each architecture of hosting/llmops_kit/core/models/base_models.py, imported.

`python -m tests.support.tiny_models.families make FOLDER` in the training image, then `… convert FOLDER` in its second
environment, once for all of them.

Each has what sets its architecture apart: scaled rotary frequencies, tied embeddings, windows, capped scores.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.3,  # larger than usual: argmax is never a near tie
}
_WINDOWS = {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16}
_LLAMA_3_ROTARY = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
    "rope_theta": 500000.0,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"rope_parameters": _LLAMA_3_ROTARY, "tie_word_embeddings": True},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 32, "tie_word_embeddings": True},
    "mistral": {"head_dim": 16, "tie_word_embeddings": False},
    "gemma2": _WINDOWS,
    "gemma3_text": {**_WINDOWS, "layer_types": ["sliding_attention", "full_attention"]},
    "phi3": {"partial_rotary_factor": 0.75, "tie_word_embeddings": True},  # Phi 4 mini's; Phi 3 is the plainer case
    "smollm3": {"no_rope_layers": [1, 0], "tie_word_embeddings": True},
}
"""Options of each `model_type`'s configuration, beside `SIZES`."""


def make(folder: Path) -> None:
    """Write and import one version for each architecture, as `folder`/model_type."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from llmops_kit.training.models.importing import import_model
    from tests.support.tiny_models.tiny import make_tokenizer

    tokenizer = make_tokenizer()
    tokens = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    for model_type, options in ARCHITECTURES.items():
        config = AutoConfig.for_model(model_type, vocab_size=len(tokenizer), **SIZES, **tokens, **options)
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as source:
            AutoModelForCausalLM.from_config(config).save_pretrained(source)
            tokenizer.save_pretrained(source)
            import_model(
                Path(source),
                folder / model_type,
                name=model_type.replace("_", "-"),
                licence="Apache-2.0",
                openvino=False,
            )


def convert_all(folder: Path) -> None:
    """Add OpenVINO's form to each, or write why it has none into `folder`/openvino.json."""
    from llmops_kit.core.errors import KitError
    from llmops_kit.training.models.openvino_form import convert

    refused = {}
    for model_type in ARCHITECTURES:
        try:
            convert(folder / model_type)
        except KitError as e:
            refused[model_type] = e.what
    (folder / "openvino.json").write_text(json.dumps(refused))


if __name__ == "__main__":
    {"make": make, "convert": convert_all}[sys.argv[1]](Path(sys.argv[2]))
