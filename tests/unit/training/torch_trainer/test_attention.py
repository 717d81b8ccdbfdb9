"""Sequences of a packed row are computed as if each stood alone."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PhimoeConfig,
)

from llmops_kit.training.data.chat import Encoded
from llmops_kit.training.data.examples import Example
from llmops_kit.training.torch_trainer.attention import attend_by_sequence
from llmops_kit.training.torch_trainer.batch_tensors import Collator

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
@pytest.mark.parametrize("begun_alike", [0, 5, 300])
def test_a_joined_row_equals_its_sequences(begun_alike: int, window: int, dtype: torch.dtype) -> None:
    """Logits, and the gradients of all weights; of 300 tokens, scores are not computed by plain products."""
    torch.manual_seed(0)
    kind, config = (MistralForCausalLM, MistralConfig) if window else (LlamaForCausalLM, LlamaConfig)
    more: dict[str, Any] = {"sliding_window": window} if window else {}
    made: Any = config(**SIZES, **more)
    model: Any = kind(made)
    model.to(dtype)
    exact = deepcopy(model).float()
    begin = torch.randint(64, (begun_alike,))
    texts = [torch.cat([begin, torch.randint(64, (length,))]) for length in LENGTHS]
    texts.append(texts[1][: begun_alike + 10])  # begins like another one beyond what all begin with
    alone, expected = _alone(model, texts)
    true, true_gradients = _alone(exact, texts)
    assert attend_by_sequence(model)
    examples = [Example([Encoded(text.numpy().astype(np.int32), np.arange(len(text)) > 0)], 1) for text in texts]
    batch = Collator(0, joined=True)(examples)
    saved = 3 * begun_alike + 10
    assert batch["input_ids"].shape == (1, sum(map(len, texts)) - saved)
    row = model(**{name: batch[name] for name in ("input_ids", "position_ids", "attention_mask")}, use_cache=False)
    logits = row.logits[0]
    predicted, wanted = (torch.cat([each[:-1] for each in logits]) for logits in (alone, true))
    assert_as_near(logits[batch["predicts"]], predicted, wanted)
    assert torch.equal(batch["targets"], torch.cat([text[1:] for text in texts]).to(torch.int32))
    last = logits[_last_places(batch)]
    torch.cat([logits[batch["predicts"]], last]).square().sum().backward()
    for name, gradient in _gradients(model).items():
        assert_as_near(gradient, expected[name], true_gradients[name])
    plain = model(texts[1][None], use_cache=False).logits[0]  # a row of one sequence
    assert_as_near(plain, alone[1], true[1])


def assert_as_near(found: torch.Tensor, usual: torch.Tensor, true: torch.Tensor) -> None:
    """Holds a result to a few times the error that torch's own way has in the same dtype, as FlashAttention's tests do.
    A sequence that saw another one would be off by all of its size.

    Args:
        found: ours.
        usual: torch's, in the same dtype.
        true: torch's of the same numbers in f32.
    """
    size = float(true.norm())
    ours, theirs = (float((each.detach().float() - true).norm()) for each in (found, usual))
    assert ours <= 4 * theirs + 30 * torch.finfo(torch.float32).eps * size  # in f32, torch's way is the true one


def _last_places(batch: dict[str, Any]) -> list[int]:
    return [int(member.nonzero()[-1]) for member in batch["attention_mask"][0, 0]]


def _alone(model: Any, texts: list[torch.Tensor]) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Each sequence's logits, and the gradients of all weights."""
    alone = [model(text[None], use_cache=False).logits[0] for text in texts]
    torch.cat(alone).square().sum().backward()
    return [logits.detach() for logits in alone], _gradients(model)


def _gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    return found


def test_a_model_that_keeps_its_window_in_its_mask_alone_keeps_the_mask() -> None:
    """PhiMoE's attention is not told its window: in a row of sequences, only transformers' mask holds it."""
    torch.manual_seed(0)
    config: Any = PhimoeConfig(**SIZES, sliding_window=12, num_local_experts=2)
    model: Any = AutoModelForCausalLM.from_config(config).eval()  # in training, its router draws
    texts = [torch.randint(64, (1, length)) for length in LENGTHS]
    alone = [model(text, use_cache=False).logits for text in texts]
    assert not attend_by_sequence(model)
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    packed = model(torch.cat(texts, dim=1), position_ids=positions, use_cache=False).logits
    assert torch.allclose(packed, torch.cat(alone, dim=1), atol=1e-5)


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
    assert not attend_by_sequence(model)
    assert model.config._attn_implementation == "eager"
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    packed = model(torch.cat(texts, dim=1), position_ids=positions, use_cache=False).logits
    assert torch.allclose(packed, torch.cat(alone, dim=1), atol=1e-5)
