"""Adapters beside frozen weights in bf16."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.training.torch_trainer.adapters import set_input_casts, with_adapter
from llmops_kit.training.torch_trainer.fused_updates import set_fused_updates

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft asks for it


def test_adapters_take_inputs_as_they_are_and_learn_the_same() -> None:
    model, trained = adapted(torch.bfloat16)
    seen: set[torch.dtype] = set()
    for name, layer in model.named_modules():
        if name.endswith("lora_A.default"):
            layer.register_forward_pre_hook(lambda _, given: seen.add(given[0].dtype))

    def gradients() -> tuple[set[torch.dtype], list[torch.Tensor]]:
        seen.clear()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(torch.arange(16)[None], use_cache=False).logits.float().logsumexp(-1).sum()
        return set(seen), list(torch.autograd.grad(loss, trained))

    set_fused_updates(model, False)
    ours, learned = gradients()
    set_input_casts(model, True)
    widened, as_peft_learns = gradients()
    assert (ours, widened) == ({torch.bfloat16}, {torch.float32})
    assert all(map(torch.equal, learned, as_peft_learns))


def test_fused_updates_are_pefts() -> None:
    """With their gradients, and without the adapter, as the reference of DPO is computed."""
    model, trained = adapted(torch.float32)

    def seen() -> list[torch.Tensor]:
        logits = model(torch.arange(16)[None], use_cache=False).logits
        with torch.no_grad(), model.disable_adapter():
            bare = model(torch.arange(16)[None], use_cache=False).logits
        return [logits, bare, *torch.autograd.grad(logits.logsumexp(-1).sum(), trained)]

    ours = seen()
    set_fused_updates(model, False)
    for fused, plain in zip(ours, seen(), strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(ours[0], ours[1], atol=0.1)


def adapted(dtype: torch.dtype) -> tuple[Any, list[Any]]:
    """A small model with a random adapter of 2 scales, and the adapter's weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    bare: Any = LlamaForCausalLM(config)
    model = with_adapter(bare.to(dtype), TrainingRecipe(max_tokens=16))
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trained:
        torch.nn.init.normal_(weight, std=0.1)
    return model, trained
