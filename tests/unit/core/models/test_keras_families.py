"""Base models that KerasHub would read or write with other logits than PyTorch are refused by their config.json."""

from typing import Any

import pytest

from llmops_kit.core.errors import KitError
from llmops_kit.core.models.keras_families import FAMILIES, check_family, rope_scaling

LLAMA: dict[str, Any] = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "head_dim": 16}
SCALED = {"rope_type": "llama3", "factor": 8.0}


@pytest.mark.parametrize("changed", [{}, {"rope_parameters": SCALED}, {"rope_scaling": SCALED}, {"head_dim": None}])
def test_models_that_keras_reads_and_writes_pass(changed: dict[str, Any]) -> None:
    check_family(LLAMA | changed, "model")
    assert set(rope_scaling(LLAMA | changed).values()) <= set(SCALED.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_passes(family: str) -> None:
    check_family(LLAMA | {"model_type": family}, "model")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"model_type": "gpt_neox"}, "'gpt_neox'"),
        ({"model_type": "gemma3"}, "'gemma3'"),
        ({"head_dim": 32}, "heads of another size"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rotary positions"),
        ({"model_type": "qwen2", "rope_parameters": SCALED}, "rotary positions"),
        ({"mlp_bias": True}, "biases"),
        ({"hidden_act": "gelu"}, "activation"),
        ({"model_type": "mistral", "tie_word_embeddings": True}, "tied embeddings"),
        ({"model_type": "qwen2", "use_sliding_window": True}, "sliding windows"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
    ],
)
def test_others_are_refused_by_name(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(KitError) as caught:
        check_family(LLAMA | changed, "recipe.yaml: base_model")
    assert named in caught.value.what
    assert caught.value.where == "recipe.yaml: base_model"
    assert "training.framework" in caught.value.fix
