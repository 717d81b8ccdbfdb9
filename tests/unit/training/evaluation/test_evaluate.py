"""A bf16 model can compute in f32; what a template drops is not evaluated."""

from pathlib import Path

import pytest
import torch

from llmops_kit.core.errors import DataError
from llmops_kit.training.data.chat import prompt_ids
from llmops_kit.training.evaluation.evaluate import computing_in_f32
from llmops_kit.training.models.weights import load_model, load_tokenizer
from tests.support.tiny_models import tiny


@pytest.mark.parametrize("tied", [False, True])
def test_widened_weights_compute_what_f32_weights_do(tied: bool, tmp_path: Path) -> None:
    tiny.make(tmp_path)
    load_model(tmp_path, torch.bfloat16).save_pretrained(tmp_path)
    stored, wide = load_model(tmp_path, torch.bfloat16), load_model(tmp_path)
    for model in (stored, wide) if tied else ():
        model.lm_head.weight = model.model.embed_tokens.weight
    ids = torch.arange(40)[None]
    with torch.inference_mode():
        expected, narrow = wide(ids).logits, stored(ids).logits
        with computing_in_f32(stored):
            found = stored(ids).logits
        again = stored(ids).logits
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert not torch.equal(found, narrow.float())
    assert torch.equal(again, narrow)
    assert {weight.dtype for weight in stored.parameters()} == {torch.bfloat16}


def test_a_template_that_drops_the_tools_is_refused(tmp_path: Path) -> None:
    tiny.make(tmp_path)
    tools = [{"type": "function", "function": {"name": "get_weather"}}]
    with pytest.raises(DataError, match="drops the tool 'get_weather'"):
        prompt_ids(load_tokenizer(tmp_path), [{"role": "user", "content": "Hi?"}], tools)


def test_weights_are_narrow_again_after_a_failure(tmp_path: Path) -> None:
    tiny.make(tmp_path)
    model = load_model(tmp_path, torch.bfloat16)
    with pytest.raises(IndexError), computing_in_f32(model):
        model(torch.tensor([[999_999]]))
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
