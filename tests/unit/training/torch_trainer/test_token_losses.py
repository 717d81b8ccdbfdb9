"""Log-probabilities computed in parts are those of torch."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from llmops_kit.training.torch_trainer import token_losses
from llmops_kit.training.torch_trainer.token_losses import TokenLogProbabilities


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("places", [0, 7])
def test_values_and_gradients_are_those_of_cross_entropy(
    dtype: torch.dtype, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_losses, "LOGITS_AT_A_TIME", 3 * 40)  # the last part has one place
    torch.manual_seed(0)
    logits = torch.randn(places, 40).mul_(3).to(dtype).requires_grad_()
    targets, weights = torch.randint(40, (places,)), torch.randn(places)
    found = TokenLogProbabilities.apply(logits, targets)
    (made,) = torch.autograd.grad((found * weights).sum(), logits)
    usual = -cross_entropy(logits.float(), targets, reduction="none")
    (wanted,) = torch.autograd.grad((usual * weights).sum(), logits)
    assert found.dtype == torch.float32
    assert made.dtype == dtype
    assert torch.allclose(found, usual, atol=1e-6)
    one_rounding = torch.finfo(dtype).eps if dtype == torch.bfloat16 else 0.0  # f32's are in atol
    assert torch.allclose(made, wanted, rtol=one_rounding, atol=1e-6)
