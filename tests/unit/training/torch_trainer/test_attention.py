"""Sequences of a packed row are computed as if each stood alone."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from training.torch_trainer.attention import attend_by_sequence

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "attn_implementation": "sdpa",
}
LENGTHS = [9, 30, 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [0, 12])
def test_a_packed_row_equals_its_sequences(window: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    kind, config = (MistralForCausalLM, MistralConfig) if window else (LlamaForCausalLM, LlamaConfig)
    more: dict[str, Any] = {"sliding_window": window} if window else {}
    made: Any = config(**SIZES, **more)
    model: Any = kind(made)
    model.to(dtype)
    texts = [torch.randint(64, (1, length)) for length in LENGTHS]
    alone = [model(text, use_cache=False).logits for text in texts]
    attend_by_sequence(model)
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    row, places = torch.cat(texts, dim=1), torch.cat([positions, positions])
    packed = model(torch.cat([row, row]), position_ids=places, use_cache=False).logits
    near = 1e-5 if dtype == torch.float32 else 3e-2
    assert torch.allclose(packed[0], torch.cat(alone, dim=1)[0], atol=near)
    assert torch.equal(packed[0], packed[1])
    assert torch.allclose(model(texts[1], use_cache=False).logits, alone[1], atol=near)  # a row that is not packed


def test_a_model_that_caps_its_scores_keeps_its_own_attention() -> None:
    """Gemma 2, in a window shorter than its sequences: torch's attention can't cap."""
    torch.manual_seed(0)
    sizes = {name: size for name, size in SIZES.items() if name != "attn_implementation"}
    config: Any = Gemma2Config(
        **sizes, head_dim=8, query_pre_attn_scalar=8, sliding_window=12, attn_logit_softcapping=0.5
    )
    model: Any = AutoModelForCausalLM.from_config(config)
    texts = [torch.randint(64, (1, length)) for length in LENGTHS]
    alone = [model(text, use_cache=False).logits for text in texts]
    attend_by_sequence(model)
    assert model.config._attn_implementation == "eager"
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    packed = model(torch.cat(texts, dim=1), position_ids=positions, use_cache=False).logits
    assert torch.allclose(packed, torch.cat(alone, dim=1), atol=1e-5)
